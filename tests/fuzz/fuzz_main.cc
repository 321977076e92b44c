// What libFuzzer calls. Messages about the guest's mistakes would be most of the work, so they are not shown.
#include "tests/fuzz/fuzz_input.h"
#include "vmm/core/log.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vmm::set_log_level(vmm::LogLevel::kError);
  vmm::test::FuzzInput input(std::as_bytes(std::span(data, size)));
  vmm::test::fuzz(input);
  return 0;
}
