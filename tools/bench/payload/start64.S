// Where a payload of tests/payload begins that is built for 64 bits: long mode, then CPL 3.
//
// A KVM that interprets kernel code runs only 64-bit code at CPL 3 natively, and lets no such code use ports, whatever
// IOPL says. So IN and OUT fault there, the handler does them at CPL 0, and the payload does not notice; that is slow, and
// nothing that is measured does it. Back to CPL 3 goes SYSEXIT, as such a KVM has no IRET to an outer level: it takes RIP
// and RSP from RDX and RCX, which a stub at CPL 3 then restores from below the stack (compile with -mno-red-zone).
  .section .multiboot, "a"
  .balign 4
  .long 0x1badb002, 0, -0x1badb002  // magic, flags, checksum: Multiboot 0.6.96 §3.1.1

  .set KERNEL_CODE, 0x18
  .set KERNEL_DATA, 0x10
  .set SYSENTER_CS, 0x08  // SYSEXIT to 64 bits: CS is this + 32, SS + 40
  .set TASK, 0x38

  .text
  .code32
  .globl _start
_start:
  cli
  cld
  lgdt gdt_pointer
  mov $KERNEL_DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov $kernel_stack_end, %esp
  mov 16(%ebx), %eax  // multiboot_info.cmdline
  mov %eax, command_line

  // The first 4 GiB as they are, in pages of 2 MiB: present, writable, user.
  movl $pointers + 7, top
  mov $pointers, %edi
  mov $directories + 7, %eax
1:
  mov %eax, (%edi)
  add $8, %edi
  add $4096, %eax
  cmp $pointers + 32, %edi
  jne 1b
  mov $directories, %edi
  mov $0x87, %eax
2:
  mov %eax, (%edi)
  add $8, %edi
  add $0x200000, %eax
  cmp $directories + 4 * 4096, %edi
  jne 2b
  mov %cr4, %eax
  or $0x20, %eax  // PAE
  mov %eax, %cr4
  mov $top, %eax
  mov %eax, %cr3
  mov $0xc0000080, %ecx  // EFER.LME
  rdmsr
  or $0x100, %eax
  wrmsr
  mov %cr0, %eax
  or $0x80000000, %eax
  mov %eax, %cr0
  ljmp $KERNEL_CODE, $1f

  .code64
1:
  movl $kernel_stack_end, tss + 4  // RSP0
  mov $tss, %eax
  mov %ax, gdt + TASK + 2
  shr $16, %eax
  mov %al, gdt + TASK + 4
  mov %ah, gdt + TASK + 7
  mov $TASK, %eax
  ltr %ax
  mov $protection, %eax  // gate 13; any other exception is a triple fault
  mov %ax, idt + 13 * 16
  movw $KERNEL_CODE, idt + 13 * 16 + 2
  movw $0x8e00, idt + 13 * 16 + 4
  shr $16, %eax
  mov %ax, idt + 13 * 16 + 6
  lidt idt_pointer
  call boot
  mov $0x174, %ecx  // IA32_SYSENTER_CS
  mov $SYSENTER_CS, %eax
  xor %edx, %edx
  wrmsr
  mov $user_start, %edx
  mov $user_stack_end, %ecx
  sysexitq

user_start:
  call main
  mov %eax, %edi
  call finish

// #GP: [RSP] is error code, RIP, CS, RFLAGS, RSP, SS.
protection:
  push %rdi
  push %rsi
  mov 16 + 8(%rsp), %rdi   // RIP
  mov 16 + 32(%rsp), %rsi  // RSP
  sub $24, %rsi
  mov %rcx, (%rsi)
  mov %rdx, 8(%rsi)
  mov (%rdi), %cx
  inc %rdi
  cmp $0xec, %cl
  je in_byte
  cmp $0xee, %cl
  je out_byte
  cmp $0xed, %cl
  je in_long
  cmp $0xef, %cl
  je out_long
  inc %rdi
  cmp $0xe6, %cl
  je out_short
  cmp $0xe4, %cl
  je in_short
  cmp $0xed66, %cx
  je in_word
  cmp $0xef66, %cx
  jne dead
  out %ax, %dx
  jmp back
in_word:
  in %dx, %ax
  jmp back
in_short:
  movzbl %ch, %edx
in_byte:
  in %dx, %al
  jmp back
out_short:
  movzbl %ch, %edx
out_byte:
  out %al, %dx
  jmp back
in_long:
  in %dx, %eax
  jmp back
out_long:
  out %eax, %dx
back:
  mov %rdi, 16(%rsi)
  mov %rsi, %rcx
  mov $restore, %edx
  pop %rsi
  pop %rdi
  sysexitq
dead:
  ud2

restore:
  pop %rcx
  pop %rdx
  ret

  .data
  .balign 8
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff  // 0x08
  .quad 0x00cf93000000ffff  // 0x10 data, CPL 0
  .quad 0x00af9b000000ffff  // 0x18 code, CPL 0
  .quad 0x00cf93000000ffff  // 0x20
  .quad 0x00affb000000ffff  // 0x28 code, CPL 3
  .quad 0x00cff3000000ffff  // 0x30 data, CPL 3
  .quad 0x0000890000000067, 0  // 0x38 TSS
gdt_pointer:
  .word 9 * 8 - 1
  .quad gdt
idt_pointer:
  .word 14 * 16 - 1
  .quad idt

  .bss
  .balign 4096
top:
  .skip 4096
pointers:
  .skip 4096
directories:
  .skip 4 * 4096
tss:
  .skip 104
  .balign 16
idt:
  .skip 14 * 16
  .balign 16
  .skip 8192
kernel_stack_end:
  .skip 65536
user_stack_end:
  .section .note.GNU-stack, "", @progbits
