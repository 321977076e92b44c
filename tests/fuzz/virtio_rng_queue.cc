// virtio-rng, driven without sense.
#include "devices/virtio/rng.h"
#include "tests/fuzz/fuzz_driver.h"

void vmm::test::fuzz(FuzzInput& input) {
  FakeDeviceHost host;
  FuzzDriver driver(input, host, std::make_unique<VirtioRng>());
  while (input.next_step()) driver.step(input);
}
