// virtio-balloon, driven without sense, by a host that keeps changing its mind. It may give the rings' own pages away.
#include "devices/virtio/balloon.h"
#include "tests/fuzz/fuzz_driver.h"
#include "vmm/core/error.h"

namespace {

// Refused while no driver is there.
void request_hints(vmm::VirtioBalloon& balloon) {
  try {
    balloon.request_hints();
  } catch (const vmm::Error&) {
  }
}

uint32_t hint_command(const vmm::VirtioBalloon& balloon) {
  uint32_t command = 0;
  balloon.read_config(offsetof(virtio_balloon_config, free_page_hint_cmd_id),
                      std::as_writable_bytes(std::span(&command, 1)));
  return command;
}

}  // namespace

void vmm::test::fuzz(FuzzInput& input) {
  FakeDeviceHost host;
  auto device = std::make_unique<VirtioBalloon>(BalloonConfig(), FakeDeviceHost::kMemorySize);
  VirtioBalloon& balloon = *device;
  FuzzDriver driver(input, host, std::move(device));
  while (input.next_step()) {
    switch (input.take_below(11)) {
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
      case 4:
        request_hints(balloon);
        break;
      case 5:
        balloon.end_hints();
        break;
      case 6:
        // The number of the latest request, or one near it; or none.
        driver.send_value(3, input.take_bool() ? hint_command(balloon) + input.take<uint8_t>() % 2 : 0);
        break;
      default:
        driver.step(input);
    }
    require(balloon.actual() <= FakeDeviceHost::kMemorySize);
  }
}
