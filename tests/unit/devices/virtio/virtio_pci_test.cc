// The PCI transport as a driver sees it: negotiation, queue setup, reset, interrupts, and drivers that get it wrong.
#include "devices/virtio/virtio_pci.h"

#include <fmt/core.h>
#include <linux/pci_regs.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "tests/support/descriptors.h"
#include "tests/support/virtio_pci_fixture.h"
#include "vmm/core/log.h"
#include "vmm/core/trace.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kMsixTable = TransportDriver::kMsixTable;

// A device whose two features exclude each other.
class PickyDevice : public VirtioRng {
 public:
  VirtioTraits traits() const override { return {.device_id = 63, .features = 3, .queue_sizes = {8}}; }
  bool accepts(uint64_t features) const override { return (features & 3) != 3; }
};

}  // namespace

TEST_CASE("virtio-pci: a negotiated device serves its queue", "[virtio][pci]") {
  VirtioPciFixture f;
  f.drive();
  f.submit();
  CHECK(f.used_index() == 1);
}

TEST_CASE("virtio-pci: a feature that was not offered keeps FEATURES_OK at 0", "[virtio][pci]") {
  VirtioPciFixture f;
  f.negotiate(VirtioPciFixture::kVersion1 | 1);
  CHECK((f.status() & VIRTIO_CONFIG_S_FEATURES_OK) == 0);
}

TEST_CASE("virtio-pci: the device hears of the features when they are agreed on, not of others", "[virtio][pci]") {
  auto owned = std::make_unique<SlowVirtioDevice>();
  SlowVirtioDevice& device = *owned;
  VirtioPciFixture f(std::move(owned));
  f.negotiate(VirtioPciFixture::kVersion1 | 2);
  CHECK_FALSE(device.agreed);
  f.negotiate(VirtioPciFixture::kVersion1 | 1);
  CHECK(device.agreed == (VirtioPciFixture::kVersion1 | 1));
}

TEST_CASE("virtio-pci: features that do not go together keep FEATURES_OK at 0", "[virtio][pci]") {
  VirtioPciFixture f(std::make_unique<PickyDevice>());
  f.negotiate(VirtioPciFixture::kVersion1 | 3);
  CHECK((f.status() & VIRTIO_CONFIG_S_FEATURES_OK) == 0);
  f.negotiate(VirtioPciFixture::kVersion1 | 2);
  CHECK((f.status() & VIRTIO_CONFIG_S_FEATURES_OK) != 0);
}

TEST_CASE("virtio-pci: a driver without VERSION_1 is refused", "[virtio][pci]") {
  VirtioPciFixture f;
  f.negotiate(0);
  CHECK((f.status() & VIRTIO_CONFIG_S_FEATURES_OK) == 0);
}

TEST_CASE("virtio-pci: features beyond 64 bits read as zero", "[virtio][pci]") {
  VirtioPciFixture f;
  f.write<uint32_t>(VIRTIO_PCI_COMMON_DFSELECT, 0xffffffff);
  CHECK(f.read<uint32_t>(VIRTIO_PCI_COMMON_DF) == 0);
}

TEST_CASE("virtio-pci: a vector beyond the table is stored as no vector", "[virtio][pci]") {
  VirtioPciFixture f;
  f.write<uint16_t>(VIRTIO_PCI_COMMON_MSIX, 2);
  CHECK(f.read<uint16_t>(VIRTIO_PCI_COMMON_MSIX) == VIRTIO_MSI_NO_VECTOR);
  f.write<uint16_t>(VIRTIO_PCI_COMMON_MSIX, 1);
  CHECK(f.read<uint16_t>(VIRTIO_PCI_COMMON_MSIX) == 1);
}

TEST_CASE("virtio-pci: a ring that cannot be used asks for a reset and a reset mends it", "[virtio][pci]") {
  VirtioPciFixture f;
  const auto size = GENERATE(uint16_t{0}, uint16_t{3}, uint16_t{512}, uint16_t{32769});
  f.negotiate(VirtioPciFixture::kVersion1);
  f.set_queue(0, size);
  f.set_status(f.status() | VIRTIO_CONFIG_S_DRIVER_OK);
  f.host.loop().run_ready();
  CHECK((f.status() & VIRTIO_CONFIG_S_NEEDS_RESET) != 0);

  f.set_status(0);
  f.host.loop().run_ready();
  CHECK(f.status() == 0);
  f.drive();
  f.submit();
  CHECK(f.used_index() == 1);
}

TEST_CASE("virtio-pci: DRIVER_OK without FEATURES_OK asks for a reset", "[virtio][pci]") {
  VirtioPciFixture f;
  f.set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK);
  f.host.loop().run_ready();
  CHECK((f.status() & VIRTIO_CONFIG_S_NEEDS_RESET) != 0);
}

TEST_CASE("virtio-pci: a queue in use keeps its place and size whatever is written", "[virtio][pci]") {
  VirtioPciFixture f;
  f.drive();
  f.write<uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE, 4);
  f.write<uint64_t>(VIRTIO_PCI_COMMON_Q_DESCLO, 0xdead0000);
  f.write<uint16_t>(VIRTIO_PCI_COMMON_Q_ENABLE, 0);
  CHECK(f.read<uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE) == 8);
  CHECK(f.read<uint64_t>(VIRTIO_PCI_COMMON_Q_DESCLO) == 0x10000);
  CHECK(f.read<uint16_t>(VIRTIO_PCI_COMMON_Q_ENABLE) == 1);
}

TEST_CASE("virtio-pci: status shows 0 only when nothing is in flight any more", "[virtio][pci]") {
  auto owned = std::make_unique<SlowVirtioDevice>();
  SlowVirtioDevice& device = *owned;
  VirtioPciFixture f(std::move(owned));
  f.drive();
  f.submit();
  REQUIRE(device.held.size() == 1);
  f.set_status(0);
  f.host.loop().run_ready();
  CHECK(f.status() != 0);
  device.release();
  f.host.loop().run_ready();
  CHECK(f.status() == 0);
  CHECK(device.resets == 1);
}

TEST_CASE("virtio-pci: reset and start again ten thousand times leave nothing behind", "[virtio][pci]") {
  VirtioPciFixture f;
  for (int i = 0; i < 10000; ++i) {
    f.drive();
    f.set_status(0);
    f.host.loop().run_ready();
  }
  CHECK(f.status() == 0);
  f.host.memory().write_value(GuestAddress{0x12002}, uint16_t{0});
  f.available = 0;
  f.host.memory().write_value(GuestAddress{0x11002}, uint16_t{0});
  f.drive();
  f.submit();
  CHECK(f.used_index() == 1);
}

TEST_CASE("virtio-pci: without MSI-X the wire is pulled until the ISR status is read", "[virtio][pci]") {
  VirtioPciFixture f;
  f.drive();
  f.submit();
  CHECK(f.wire->level);
  CHECK(f.read<uint8_t>(0x1000) == 1);
  CHECK_FALSE(f.wire->level);
  CHECK(f.read<uint8_t>(0x1000) == 0);
}

TEST_CASE("virtio-pci: with MSI-X the queue's message is sent", "[virtio][pci]") {
  VirtioPciFixture f;
  f.enable_msix();
  f.write<uint64_t>(kMsixTable + 16, 0xfee00000);
  f.write<uint64_t>(kMsixTable + 24, 0x41);
  f.negotiate(VirtioPciFixture::kVersion1);
  f.set_queue(0);
  f.write<uint16_t>(VIRTIO_PCI_COMMON_Q_MSIX, 1);
  f.set_status(f.status() | VIRTIO_CONFIG_S_DRIVER_OK);
  f.host.loop().run_ready();
  f.submit();
  CHECK(f.host.messages == std::vector<MsiMessage>{{0xfee00000, 0x41}});
  CHECK_FALSE(f.wire->level);
}

TEST_CASE("virtio-pci: a masked vector is remembered and sent when unmasked", "[virtio][pci]") {
  VirtioPciFixture f;
  f.enable_msix(true);
  f.write<uint64_t>(kMsixTable + 16, 0xfee00000);
  f.write<uint64_t>(kMsixTable + 24, 0x41);
  f.negotiate(VirtioPciFixture::kVersion1);
  f.set_queue(0);
  f.write<uint16_t>(VIRTIO_PCI_COMMON_Q_MSIX, 1);
  f.set_status(f.status() | VIRTIO_CONFIG_S_DRIVER_OK);
  f.host.loop().run_ready();
  f.submit();
  CHECK(f.host.messages.empty());
  CHECK(f.read<uint64_t>(0x6000) == 2);
  f.enable_msix(false);
  CHECK(f.host.messages.size() == 1);
  CHECK(f.read<uint64_t>(0x6000) == 0);
}

TEST_CASE("virtio-pci: a changed configuration has a new generation and an interrupt", "[virtio][pci]") {
  VirtioPciFixture f;
  f.drive();
  const auto before = f.read<uint8_t>(VIRTIO_PCI_COMMON_CFGGENERATION);
  f.transport->device().change_config([] {});
  CHECK(f.read<uint8_t>(VIRTIO_PCI_COMMON_CFGGENERATION) != before);
  CHECK(f.read<uint8_t>(0x1000) == 2);
}

TEST_CASE("virtio-pci: a stop serves what the driver has made available, though not rung for", "[virtio][pci]") {
  VirtioPciFixture f;
  f.drive();
  f.host.memory().write_value(GuestAddress{0x10000}, vring_desc{0x20000, 16, VRING_DESC_F_WRITE, 0});
  f.host.memory().write_value(GuestAddress{0x11004}, uint16_t{0});
  f.host.memory().write_value(GuestAddress{0x11002}, uint16_t{1});
  f.transport->stop([] {});
  f.host.loop().run_ready();
  CHECK(f.used_index() == 1);
}

TEST_CASE("virtio-pci: that a driver took the device is known after it has been stopped", "[virtio][pci]") {
  VirtioPciFixture f;
  CHECK_FALSE(f.transport->was_driven());
  f.drive();
  f.transport->stop([] {});
  f.host.loop().run_ready();
  CHECK(f.transport->was_driven());
}

TEST_CASE("virtio-pci: what is agreed on, the rings' indexes and the messages are told", "[virtio][pci]") {
  VirtioPciFixture f;
  CHECK(
      f.transport->describe() ==
      fmt::format("  status 0x00\n  features 0x0 taken of {:#x} offered\n  queue 0: 256 of 256 entries, not enabled\n",
                  f.offered_features()));
  CHECK(f.transport->describe_interrupts() == "  INTx: MSI-X is not enabled\n");
  CHECK_THAT(f.transport->describe_configuration(), Catch::Contains(": MSI-X, 2 vectors, not enabled\n"));
  f.drive();
  f.submit();
  CHECK_THAT(f.transport->describe(),
             Catch::Contains("  status 0x0f, acknowledged, has a driver, features agreed, driven\n") &&
                 Catch::Contains("  features 0x100000000 taken") &&
                 Catch::Contains("  queue 0: 8 of 256 entries, no vector, available index 1, used index 1\n"));
  f.enable_msix();
  CHECK_THAT(f.transport->describe_interrupts(), Catch::Contains("  MSI-X 1: data 0x0 to 0x0, 0 sent, masked\n"));
  CHECK_THAT(f.transport->describe_configuration(),
             Catch::Contains(": MSI-X, 2 vectors, enabled\n") && Catch::Contains(": vendor-specific\n"));
}

TEST_CASE("virtio-pci: with --trace virtio its status, buffers and interrupts are lines", "[virtio][pci][trace]") {
  const Pipe pipe;
  set_log_fd(pipe.write.get());
  set_traced(TraceArea::kVirtio, true);
  {
    VirtioPciFixture f;
    f.drive();
    f.submit();
    f.set_status(0);
    f.host.loop().run_ready();
  }
  set_traced(TraceArea::kVirtio, false);
  set_log_fd(STDERR_FILENO);
  const std::string lines = read_available(pipe.read);
  CHECK_THAT(lines,
             Catch::Contains("vmm: virtio: virtio-rng: status 0x0f, acknowledged, has a driver, features agreed, "
                             "driven, features 0x100000000\n") &&
                 Catch::Contains("vmm: virtio: virtio-rng queue 0: the driver notifies\n") &&
                 Catch::Contains("vmm: virtio: virtio-rng queue 0: buffer 0, 0 bytes to read, 16 to write\n") &&
                 Catch::Contains("vmm: virtio: virtio-rng queue 0: buffer 0 returned, 16 bytes written\n") &&
                 Catch::Contains("vmm: virtio: virtio-rng queue 0: interrupt\n") &&
                 Catch::Contains("vmm: virtio: virtio-rng: status 0x00, features"));
}

TEST_CASE("virtio-pci: a changed configuration is in the ISR status with messages as well, without the wire",
          "[virtio][pci]") {
  VirtioPciFixture f;
  f.drive();
  f.enable_msix();
  f.transport->device().change_config([] {});
  CHECK_FALSE(f.wire->level);
  CHECK(f.read<uint8_t>(0x1000) == 2);
  CHECK(f.read<uint8_t>(0x1000) == 0);
}

TEST_CASE("virtio-pci: a device that may not reach memory any more is reset", "[virtio][pci]") {
  VirtioPciFixture f;
  f.drive();
  f.submit();
  CHECK(f.used_index() == 1);
  f.set_config<uint16_t>(PCI_COMMAND, PCI_COMMAND_MEMORY);
  f.submit();
  CHECK(f.used_index() == 1);
  CHECK(f.status() == 0);
  f.set_config<uint16_t>(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  f.host.memory().write(GuestAddress{0x11000}, std::vector<std::byte>(0x2000));
  f.available = 0;
  f.drive();
  f.submit();
  CHECK(f.used_index() == 1);
}

TEST_CASE("virtio-pci: a device that may not reach memory does not start, and sends no message", "[virtio][pci]") {
  VirtioPciFixture f;
  f.set_config<uint16_t>(PCI_COMMAND, PCI_COMMAND_MEMORY);
  f.enable_msix();
  f.drive();
  f.submit();
  CHECK(f.used_index() == 0);
  CHECK((f.status() & VIRTIO_CONFIG_S_NEEDS_RESET) != 0);
  CHECK(f.host.messages.empty());
}
