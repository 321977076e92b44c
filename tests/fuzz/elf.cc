// ELF kernels of both classes with damaged headers and notes, or a file of any bytes.
#include "tests/fuzz/kernel_target.h"

void vmm::test::fuzz(FuzzInput& input) {
  if (input.take_bool()) return load_kernel(input.take_rest());
  ElfBuilder elf(input.take_bool() ? 64 : 32);
  elf.entry(kMiB + 12).load(kMiB, multiboot_header() + "code", 0x2000).load(2 * kMiB, "data");
  if (input.take_bool()) elf.note(elf_note("GNU", 3, "build-id") + pvh_note(kMiB), input.take_bool() ? 4 : 8);
  load_kernel(damage(input, elf.build()));
}
