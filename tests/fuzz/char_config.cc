// The text of a console flag.
#include "devices/backends/char/char_config.h"

#include "tests/fuzz/fuzz_input.h"
#include "vmm/core/error.h"

void vmm::test::fuzz(FuzzInput& input) {
  const std::string text = input.take_rest();
  try {
    require(CharConfig::parse(text) == CharConfig::parse(text));
  } catch (const Error& error) {
    require(error.what()[0] != '\0');
  }
}
