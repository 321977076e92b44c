// virtio-console with two ports, hence with control queues, between a driver and a host without sense.
#include "devices/virtio/console.h"
#include "tests/fuzz/fuzz_driver.h"

void vmm::test::fuzz(FuzzInput& input) {
  FakeDeviceHost host;
  FuzzStream console, channel;
  auto device = std::make_unique<VirtioConsole>(std::vector<VirtioConsole::PortConfig>{
      {.name = "console", .is_console = true, .backend = console}, {.name = "channel", .backend = channel}});
  VirtioConsole& console_device = *device;
  FuzzDriver driver(input, host, std::move(device));
  while (input.next_step()) {
    FuzzStream& stream = input.take_bool() ? console : channel;
    switch (input.take_below(8)) {
      case 0:
        stream.make_room(input.take<uint16_t>());
        break;
      case 1:
        stream.send(input.take_bytes(input.take_below(64)));
        break;
      case 2:
        console_device.set_window_size(input.take<uint16_t>(), input.take<uint16_t>());
        break;
      default:
        driver.step(input);
    }
    host.loop().run_ready();
  }
}
