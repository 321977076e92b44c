// Where a payload begins: Multiboot entry (32-bit protected mode, paging off), own tables, then CPL 3.
//
// main() runs at CPL 3 with IOPL 3: it may use every port, and nothing else that a user's program may not. Before that
// boot() runs at CPL 0 for what needs it. Down goes SYSEXIT: a KVM that interprets kernel code has no IRET to an outer
// level. Interrupts stay off; exceptions end in exception().

  .section .multiboot, "a"
  .balign 4
  .long 0x1badb002, 0, -0x1badb002  // magic, flags, checksum: Multiboot 0.6.96 §3.1.1

  .set KERNEL_CODE, 0x08
  .set KERNEL_DATA, 0x10
  .set USER_DATA, 0x20 | 3
  .set TASK, 0x28
  .set IA32_SYSENTER_CS, 0x174

  .text
  .globl _start
_start:
  cli
  cld
  sidt first_idt
  lgdt gdt_pointer
  ljmp $KERNEL_CODE, $1f
1:
  mov $KERNEL_DATA, %eax
  mov %eax, %ss
  mov $USER_DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %fs
  mov %eax, %gs
  mov $kernel_stack_end, %esp

  // The descriptor of the TSS, whose address a linker cannot cut into pieces.
  mov $tss, %eax
  mov %ax, gdt + TASK + 2
  shr $16, %eax
  mov %al, gdt + TASK + 4
  mov %ah, gdt + TASK + 7
  movb $0x89, gdt + TASK + 5  // available again, should this be a second start
  movl $kernel_stack_end, tss + 4
  movl $KERNEL_DATA, tss + 8
  mov $TASK, %eax
  ltr %ax

  // Gates of the 32 exceptions: present, 32-bit interrupt gate.
  mov $vectors, %eax
  mov $idt, %edi
  mov $32, %ecx
2:
  mov %ax, (%edi)
  movw $KERNEL_CODE, 2(%edi)
  movw $0x8e00, 4(%edi)
  mov %eax, %edx
  shr $16, %edx
  mov %dx, 6(%edi)
  add $16, %eax
  add $8, %edi
  dec %ecx
  jnz 2b
  lidt idt_pointer

  mov 16(%ebx), %eax  // multiboot_info.cmdline
  mov %eax, command_line
  call boot

  mov $IA32_SYSENTER_CS, %ecx
  mov $KERNEL_CODE, %eax
  xor %edx, %edx
  wrmsr
  push $0x3002  // IOPL 3
  popf
  mov $user_start, %edx
  mov $user_stack_end, %ecx
  sysexit

user_start:
  call main
  push %eax
  call finish

  .balign 16
vectors:
  .set vector, 0
  .rept 32
  .balign 16
  .if !((0x27d00 >> vector) & 1)  // 8, 10 to 14, 17 push an error code themselves
  push $0
  .endif
  push $vector
  jmp raise
  .set vector, vector + 1
  .endr
raise:
  push %esp  // struct exception *
  call exception

  .data
  .balign 8
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff  // 0x08 code, CPL 0
  .quad 0x00cf93000000ffff  // 0x10 data, CPL 0
  .quad 0x00cffb000000ffff  // 0x18 code, CPL 3
  .quad 0x00cff3000000ffff  // 0x20 data, CPL 3
  .quad 0x0000890000000067  // 0x28 TSS
gdt_pointer:
  .word 6 * 8 - 1
  .long gdt
idt_pointer:
  .word 32 * 8 - 1
  .long idt

  .bss
  .globl first_idt
first_idt:
  .skip 6
  .balign 16
tss:
  .skip 104
idt:
  .skip 32 * 8
  .balign 16
  .skip 8192
kernel_stack_end:
  .skip 65536
user_stack_end:
  .section .note.GNU-stack, "", @progbits
