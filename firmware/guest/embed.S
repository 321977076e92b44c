// The guest's init as bytes in vmm itself, so that a run needs no file beside the program.
        .section .rodata
        .balign 16
        .globl vmm_guest_init, vmm_guest_init_end
vmm_guest_init:
        .incbin GUEST_INIT
vmm_guest_init_end:
        .section .note.GNU-stack, "", %progbits
