// bzImages: one with a damaged setup header, or a file of any bytes.
#include "tests/fuzz/kernel_target.h"

void vmm::test::fuzz(FuzzInput& input) {
  if (input.take_bool()) return load_kernel(input.take_rest());
  const auto fits = [](setup_header& header) {
    header.pref_address = kMiB;
    header.init_size = 1 << 20;
  };
  std::string file = bzimage(fits, 4096);
  const auto cut = input.take_below(file.size());
  file.resize(file.size() - (input.take_bool() ? cut : 0));
  load_kernel(damage(input, std::move(file)));
}
