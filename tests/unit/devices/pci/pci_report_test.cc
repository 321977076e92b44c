// What a person is told of a function's configuration space.
#include <linux/pci_regs.h>

#include <array>
#include <catch2/catch.hpp>

#include "devices/pci/pci_root.h"
#include "tests/support/fake_irq_line.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

// With a BAR, a wire and two capabilities, one of them MSI-X of 3 vectors.
class TestFunction : public PciDevice {
 public:
  TestFunction()
      : PciDevice({.vendor = 0x1234, .device = 0x5678, .subsystem = 0x9a, .class_code = 0x020000, .revision = 7},
                  4096) {
    add_capability(PCI_CAP_ID_VNDR, std::array{std::byte{4}, std::byte{0}});
    const std::array control{std::byte{2}, std::byte{0}};
    msix = add_capability(PCI_CAP_ID_MSIX, control, std::array{std::byte{0}, std::byte{0xc0}});
  }
  uint8_t msix = 0;
};

struct Fixture {
  Fixture() {
    auto owned = std::make_unique<TestFunction>();
    device = owned.get();
    root.plug(std::move(owned), [](size_t) { return PciRoot::Wire{std::make_unique<FakeIrqLine>(), 11}; });
  }
  void set(uint64_t offset, uint16_t value) const { device->write_config(offset, std::as_bytes(std::span(&value, 1))); }

  Bus memory;
  PciRoot root{memory, 0xc0000000, 0x100000};
  TestFunction* device = nullptr;
};

}  // namespace

TEST_CASE("pci report: identity, command, BAR, wire and capabilities are told", "[pci]") {
  const Fixture f;
  CHECK(f.device->describe_configuration() ==
        "  1234:5678, revision 07, subsystem 0000:009a, class 020000, network\n"
        "  command 0x0006, memory, bus master\n"
        "  BAR 0: 32-bit memory at 0xc0000000, size 0x1000\n"
        "  INTA: line 11\n"
        "  capability at 0x40: vendor-specific\n"
        "  capability at 0x44: MSI-X, 3 vectors, not enabled\n");
}

TEST_CASE("pci report: what the guest has changed is told", "[pci]") {
  const Fixture f;
  f.set(PCI_COMMAND, PCI_COMMAND_INTX_DISABLE);
  f.set(f.device->msix + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
  CHECK_THAT(f.device->describe_configuration(), Contains("command 0x0400, INTx off\n") &&
                                                     Contains("size 0x1000, not decoded\n") &&
                                                     Contains(": MSI-X, 3 vectors, enabled, masked\n"));
}

TEST_CASE("pci report: the host bridge has neither BAR nor wire", "[pci]") {
  Fixture f;
  CHECK_THAT(f.root.host_bridge().describe_configuration(),
             Contains("1b36:0008") && Contains(", bridge\n") && !Contains("BAR") && !Contains("INTA"));
}
