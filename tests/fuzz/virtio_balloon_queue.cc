// virtio-balloon, driven without sense, by a host that keeps changing its mind. It may give the rings' own pages away.
#include "devices/virtio/balloon.h"
#include "tests/fuzz/fuzz_driver.h"

void vmm::test::fuzz(FuzzInput& input) {
  FakeDeviceHost host;
  auto device = std::make_unique<VirtioBalloon>(BalloonConfig(), FakeDeviceHost::kMemorySize);
  VirtioBalloon& balloon = *device;
  FuzzDriver driver(host, std::move(device));
  while (input.next_step()) {
    switch (input.take_below(8)) {
      case 0:
        balloon.request_statistics();
        break;
      case 1:
        balloon.set_target(input.take_below(FakeDeviceHost::kMemorySize));
        break;
      case 2:
        // Two page numbers, as an honest driver sends them, some of them of RAM.
        driver.send_value(0, std::array{input.take<uint32_t>(), uint32_t{input.take<uint16_t>()}});
        break;
      case 3:
        driver.send_value(2, virtio_balloon_stat{.tag = input.take<uint16_t>(), .val = input.take<uint64_t>()});
        break;
      default:
        driver.step(input);
    }
    require(balloon.actual() <= FakeDeviceHost::kMemorySize);
  }
}
