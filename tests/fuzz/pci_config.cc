// Configuration space by memory and by ports, and the BAR of a virtio device that moves about.
#include "devices/pci/pci_root.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/virtio_pci.h"
#include "tests/fuzz/fake_ends.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/fake_device_host.h"

void vmm::test::fuzz(FuzzInput& input) {
  constexpr uint64_t kEcam = 0xe0000000, kPorts = 0xcf8;
  constexpr uint32_t kWindow = 0xc0000000, kWindowSize = 0x100000;
  FakeDeviceHost host;
  Bus memory, ports;
  PciRoot root(memory, kWindow, kWindowSize);
  memory.add(kEcam, PciRoot::kEcamSize, root.ecam());
  ports.add(kPorts, 8, root.ports());
  auto device = std::make_unique<VirtioPci>(host, std::make_unique<VirtioRng>());
  VirtioPci& transport = *device;
  root.plug(std::move(device), [](size_t) { return PciRoot::Wire{std::make_unique<LooseWire>(), 10}; });

  while (input.next_step()) {
    switch (input.take_below(6)) {
      case 0:  // the device's configuration space
        access(input, memory, kEcam + (1 << 15), 0x104);
        break;
      case 1:  // anybody's
        access(input, memory, kEcam + input.take_below(1 << 8) * 0x1000, 0x1000);
        break;
      case 2:
        access(input, ports, kPorts - 4, 16);
        break;
      case 3:  // where the BAR is at first
        access(input, memory, kWindow, 0x8000);
        break;
      case 4:  // where it may have been moved to
        access(input, memory, uint64_t{input.take<uint16_t>()} << 16, 0x8000);
        break;
      default:
        host.loop().run_ready();
    }
  }
  transport.stop([] {});
  host.loop().run_ready();
}
