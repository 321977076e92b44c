// The text of a disk flag.
#include "devices/backends/disk/disk.h"

#include "tests/fuzz/fuzz_input.h"
#include "vmm/core/error.h"

void vmm::test::fuzz(FuzzInput& input) {
  try {
    const DiskConfig config = DiskConfig::parse(input.take_rest());
    require(config.path.empty() != config.socket.empty());
    require(config.serial.size() <= 20);
  } catch (const Error& error) {
    require(error.what()[0] != '\0');
  }
}
