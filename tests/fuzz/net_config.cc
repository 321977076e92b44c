// The text of a network flag.
#include "devices/backends/net/net.h"

#include "tests/fuzz/fuzz_input.h"
#include "vmm/core/error.h"

void vmm::test::fuzz(FuzzInput& input) {
  try {
    const NetConfig config = NetConfig::parse(input.take_rest());
    require(config.queues >= 1 && config.queues <= 64);
    require(!config.mac || !config.mac->is_multicast());
    for (const PortForward& forward : config.forwards) require(forward.host_port != 0 && forward.guest_port != 0);
    require(!config.describe().empty());
  } catch (const Error& error) {
    require(error.what()[0] != '\0');
  }
}
