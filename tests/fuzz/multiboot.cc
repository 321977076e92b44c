// Multiboot headers with any addresses and flags.
#include "tests/fuzz/kernel_target.h"

void vmm::test::fuzz(FuzzInput& input) {
  if (input.take_bool()) return load_kernel(input.take_rest());
  MultibootHeader header = input.take<MultibootHeader>();
  if (input.take_bool()) header.load_addr = header.header_addr = kMiB;
  if (input.take_bool()) header.flags &= 7;
  const std::string before(4 * input.take_below(2100), '.');
  load_kernel(before + flat_multiboot(header, "code"));
}
