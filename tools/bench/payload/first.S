// The shortest guest: its first instructions say '!' on COM1, what follows ends the machine through the debug-exit port
// 0xf4, or with HOLD halts for ever, so that a monitor can be looked at while it has nothing to do. It is built twice:
//
//   first.elf   a kernel: Multiboot header (Multiboot 0.6.96 §3.1.1) and PVH note (xen/include/public/elfnote.h)
//   first.rom   with ROM: 64 KiB of firmware whose reset vector is these instructions, so that no firmware comes first
#ifdef ROM
  .code16
#else
  .section .multiboot, "a"
  .balign 4
  .long 0x1badb002, 0, -0x1badb002  // magic, flags, checksum

  .section .note.pvh, "a", @note
  .balign 4
  .long 4, 4, 18  // sizes of name and value, XEN_ELFNOTE_PHYS32_ENTRY
  .asciz "Xen"
  .long _start
#endif

  .text
#ifdef ROM
  .org 0xfff0
#endif
  .globl _start
_start:
  mov $0x3f8, %dx
  mov $'!', %al
  out %al, %dx
#ifndef HOLD
  out %al, $0xf4
#endif
1:
  cli
  hlt
  jmp 1b
#ifdef ROM
  .org 0x10000
#endif
  .section .note.GNU-stack, "", @progbits
