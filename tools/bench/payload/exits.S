// Leaves the guest COUNT times, with reads of COM1's line status, between a 'b' and a '~' on the line; then halts for
// ever, so that what it took can be looked at. A kernel like first.elf.
  .section .multiboot, "a"
  .balign 4
  .long 0x1badb002, 0, -0x1badb002  // magic, flags, checksum

  .text
  .globl _start
_start:
  mov $0x3f8, %dx
  mov $'b', %al
  out %al, %dx
  mov $COUNT, %ecx
  mov $0x3fd, %dx
1:
  in %dx, %al
  dec %ecx
  jnz 1b
  mov $0x3f8, %dx
  mov $'~', %al
  out %al, %dx
2:
  cli
  hlt
  jmp 2b
  .section .note.GNU-stack, "", @progbits
