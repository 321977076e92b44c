// The PCI transport as a driver sees it: negotiation, queue setup, reset, interrupts, and drivers that get it wrong.
#include "devices/virtio/virtio_pci.h"

#include <fmt/core.h>
#include <linux/pci_regs.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <future>

#include "devices/pci/pci_root.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/spec.h"
#include "tests/support/descriptors.h"
#include "tests/support/fake_device_host.h"
#include "tests/support/transport_driver.h"
#include "vmm/core/log.h"
#include "vmm/core/trace.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint32_t kBar = TransportDriver::kBar;
constexpr uint64_t kNotify = TransportDriver::kNotify;
constexpr uint64_t kMsixTable = TransportDriver::kMsixTable;

struct FakeLine : IrqLine {
  explicit FakeLine(bool& wire) : wire_(wire) {}
  void set(bool level) override { wire_ = level; }
  bool& wire_;
};

// A device whose two features exclude each other.
class PickyDevice : public VirtioRng {
 public:
  VirtioTraits traits() const override { return {.device_id = 63, .features = 3, .queue_sizes = {8}}; }
  bool accepts(uint64_t features) const override { return (features & 3) != 3; }
};

// A device that keeps the chains it takes until told, and counts lifecycle calls.
class SlowDevice : public VirtioDevice {
 public:
  std::string name() const override { return "slow"; }
  VirtioTraits traits() const override {
    return {.device_id = 63, .features = 1, .queue_sizes = {8, 8}, .config_size = 8};
  }
  void read_config(size_t offset, std::span<std::byte> data) const override {
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(offset + i);
  }
  Task<void> serve(size_t, Virtqueue& queue) override {
    while (auto chain = co_await queue.next()) {
      held.push_back(std::move(*chain));
      co_await Release{*this};
    }
  }
  void negotiated(uint64_t features) override { agreed = features; }
  void reset() override { ++resets; }

  struct Release {
    SlowDevice& device;
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) { device.waiting = handle; }
    void await_resume() {}
  };
  void release() {
    held.clear();
    std::exchange(waiting, nullptr).resume();
  }
  std::vector<DescriptorChain> held;
  std::coroutine_handle<> waiting;
  int resets = 0;
  std::optional<uint64_t> agreed;
};

struct Fixture : TransportDriver {
  explicit Fixture(std::unique_ptr<VirtioDevice> device = std::make_unique<VirtioRng>())
      : transport(std::make_unique<VirtioPci>(host, std::move(device))) {
    transport->plug(bus, kBar, std::make_unique<FakeLine>(wire), 11);
  }
  ~Fixture() {
    transport->stop([] {});
    host.loop().run_ready();
  }

  void set_queue(uint16_t index, uint16_t size = 8) { TransportDriver::set_queue(index, size, 0x10000); }
  void drive(uint64_t features = kVersion1) {
    negotiate(features);
    set_queue(0);
    set_status(status() | VIRTIO_CONFIG_S_DRIVER_OK);
    host.loop().run_ready();
  }
  // One writable buffer of 16 bytes at 0x20000.
  void submit() {
    host.memory().write_value(GuestAddress{0x10000}, vring_desc{0x20000, 16, VRING_DESC_F_WRITE, 0});
    host.memory().write_value(GuestAddress{0x11004}, uint16_t{0});
    host.memory().write_value(GuestAddress{0x11002}, ++available);
    write<uint16_t>(kNotify, 0);
    host.loop().run_ready();
  }
  uint16_t used_index() { return host.memory().read<uint16_t>(GuestAddress{0x12002}).value(); }
  void enable_msix(bool masked = false) {
    const uint16_t control = static_cast<uint16_t>(PCI_MSIX_FLAGS_ENABLE | (masked ? PCI_MSIX_FLAGS_MASKALL : 0));
    transport->write_config(msix_capability() + PCI_MSIX_FLAGS, std::as_bytes(std::span(&control, 1)));
  }
  template <typename T>
  T config(uint64_t offset) {
    T value{};
    transport->read_config(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  template <typename T>
  void set_config(uint64_t offset, T value) {
    transport->write_config(offset, std::as_bytes(std::span(&value, 1)));
  }
  // Where the capability lies, of vendor capabilities the one for this structure.
  uint64_t capability(uint8_t id, std::optional<uint8_t> structure = {}) {
    uint64_t at = config<uint8_t>(PCI_CAPABILITY_LIST);
    while (config<uint8_t>(at) != id || (structure && config<uint8_t>(at + VIRTIO_PCI_CAP_CFG_TYPE) != structure)) {
      at = config<uint8_t>(at + PCI_CAP_LIST_NEXT);
    }
    return at;
  }
  uint64_t msix_capability() { return capability(PCI_CAP_ID_MSIX); }

  static constexpr uint64_t kVersion1 = feature(VIRTIO_F_VERSION_1);
  FakeDeviceHost host;
  bool wire = false;
  uint16_t available = 0;
  std::unique_ptr<VirtioPci> transport;
};

}  // namespace

TEST_CASE("virtio-pci: a negotiated device serves its queue", "[virtio][pci]") {
  Fixture f;
  f.drive();
  f.submit();
  CHECK(f.used_index() == 1);
}

TEST_CASE("virtio-pci: a feature that was not offered keeps FEATURES_OK at 0 (P11)", "[virtio][pci]") {
  Fixture f;
  f.negotiate(Fixture::kVersion1 | 1);
  CHECK((f.status() & VIRTIO_CONFIG_S_FEATURES_OK) == 0);
}

TEST_CASE("virtio-pci: the device hears of the features when they are agreed on, not of others", "[virtio][pci]") {
  auto owned = std::make_unique<SlowDevice>();
  SlowDevice& device = *owned;
  Fixture f(std::move(owned));
  f.negotiate(Fixture::kVersion1 | 2);
  CHECK_FALSE(device.agreed);
  f.negotiate(Fixture::kVersion1 | 1);
  CHECK(device.agreed == (Fixture::kVersion1 | 1));
}

TEST_CASE("virtio-pci: features that do not go together keep FEATURES_OK at 0 (P11)", "[virtio][pci]") {
  Fixture f(std::make_unique<PickyDevice>());
  f.negotiate(Fixture::kVersion1 | 3);
  CHECK((f.status() & VIRTIO_CONFIG_S_FEATURES_OK) == 0);
  f.negotiate(Fixture::kVersion1 | 2);
  CHECK((f.status() & VIRTIO_CONFIG_S_FEATURES_OK) != 0);
}

TEST_CASE("virtio-pci: a driver without VERSION_1 is refused", "[virtio][pci]") {
  Fixture f;
  f.negotiate(0);
  CHECK((f.status() & VIRTIO_CONFIG_S_FEATURES_OK) == 0);
}

TEST_CASE("virtio-pci: features beyond 64 bits read as zero (P10)", "[virtio][pci]") {
  Fixture f;
  f.write<uint32_t>(VIRTIO_PCI_COMMON_DFSELECT, 0xffffffff);
  CHECK(f.read<uint32_t>(VIRTIO_PCI_COMMON_DF) == 0);
}

TEST_CASE("virtio-pci: registers of a queue that is not there read as zero and take no write (P1)", "[virtio][pci]") {
  Fixture f;
  f.write<uint16_t>(VIRTIO_PCI_COMMON_Q_SELECT, 0xffff);
  f.write<uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE, 4);
  f.write<uint64_t>(VIRTIO_PCI_COMMON_Q_DESCLO, 0x1000);
  CHECK(f.read<uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE) == 0);
  CHECK(f.read<uint16_t>(VIRTIO_PCI_COMMON_Q_MSIX) == VIRTIO_MSI_NO_VECTOR);
  CHECK(f.read<uint64_t>(VIRTIO_PCI_COMMON_Q_DESCLO) == 0);
}

TEST_CASE("virtio-pci: a vector beyond the table is stored as no vector (P2)", "[virtio][pci]") {
  Fixture f;
  f.write<uint16_t>(VIRTIO_PCI_COMMON_MSIX, 2);
  CHECK(f.read<uint16_t>(VIRTIO_PCI_COMMON_MSIX) == VIRTIO_MSI_NO_VECTOR);
  f.write<uint16_t>(VIRTIO_PCI_COMMON_MSIX, 1);
  CHECK(f.read<uint16_t>(VIRTIO_PCI_COMMON_MSIX) == 1);
}

TEST_CASE("virtio-pci: a ring that cannot be used asks for a reset and a reset mends it (Q23)", "[virtio][pci]") {
  Fixture f;
  const auto size = GENERATE(uint16_t{0}, uint16_t{3}, uint16_t{512}, uint16_t{32769});
  f.negotiate(Fixture::kVersion1);
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
  Fixture f;
  f.set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK);
  f.host.loop().run_ready();
  CHECK((f.status() & VIRTIO_CONFIG_S_NEEDS_RESET) != 0);
}

TEST_CASE("virtio-pci: a queue in use keeps its place and size whatever is written (Q26)", "[virtio][pci]") {
  Fixture f;
  f.drive();
  f.write<uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE, 4);
  f.write<uint64_t>(VIRTIO_PCI_COMMON_Q_DESCLO, 0xdead0000);
  f.write<uint16_t>(VIRTIO_PCI_COMMON_Q_ENABLE, 0);
  CHECK(f.read<uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE) == 8);
  CHECK(f.read<uint64_t>(VIRTIO_PCI_COMMON_Q_DESCLO) == 0x10000);
  CHECK(f.read<uint16_t>(VIRTIO_PCI_COMMON_Q_ENABLE) == 1);
}

TEST_CASE("virtio-pci: status shows 0 only when nothing is in flight any more (P13)", "[virtio][pci]") {
  auto owned = std::make_unique<SlowDevice>();
  SlowDevice& device = *owned;
  Fixture f(std::move(owned));
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

TEST_CASE("virtio-pci: reset and start again ten thousand times leave nothing behind (P14)", "[virtio][pci]") {
  Fixture f;
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
  Fixture f;
  f.drive();
  f.submit();
  CHECK(f.wire);
  CHECK(f.read<uint8_t>(0x1000) == 1);
  CHECK_FALSE(f.wire);
  CHECK(f.read<uint8_t>(0x1000) == 0);
}

TEST_CASE("virtio-pci: with MSI-X the queue's message is sent", "[virtio][pci]") {
  Fixture f;
  f.enable_msix();
  f.write<uint64_t>(kMsixTable + 16, 0xfee00000);
  f.write<uint64_t>(kMsixTable + 24, 0x41);
  f.negotiate(Fixture::kVersion1);
  f.set_queue(0);
  f.write<uint16_t>(VIRTIO_PCI_COMMON_Q_MSIX, 1);
  f.set_status(f.status() | VIRTIO_CONFIG_S_DRIVER_OK);
  f.host.loop().run_ready();
  f.submit();
  CHECK(f.host.messages == std::vector<MsiMessage>{{0xfee00000, 0x41}});
  CHECK_FALSE(f.wire);
}

TEST_CASE("virtio-pci: a masked vector is remembered and sent when unmasked", "[virtio][pci]") {
  Fixture f;
  f.enable_msix(true);
  f.write<uint64_t>(kMsixTable + 16, 0xfee00000);
  f.write<uint64_t>(kMsixTable + 24, 0x41);
  f.negotiate(Fixture::kVersion1);
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

TEST_CASE("virtio-pci: configuration accesses at and beyond its end are bounded (P16)", "[virtio][pci]") {
  Fixture f(std::make_unique<SlowDevice>());
  CHECK(f.read<uint64_t>(0x2000) == 0x0706050403020100);
  CHECK(f.read<uint32_t>(0x2006) == 0x0706);
  CHECK(f.read<uint32_t>(0x2008) == 0);
  f.write<uint64_t>(0x2ffc, ~uint64_t{0});
}

TEST_CASE("virtio-pci: a kick for a queue that is not there does nothing (P17)", "[virtio][pci]") {
  Fixture f;
  f.drive();
  f.write<uint32_t>(kNotify + 0xffc, 0xffff);
  f.write<uint16_t>(kNotify + 4, 1);
  CHECK(f.host.loop().run_ready() == 0);
}

TEST_CASE("virtio-pci: with memory decoding off the device neither answers nor is kicked (P7)", "[virtio][pci]") {
  Fixture f;
  f.drive();
  const uint16_t off = 0;
  f.transport->write_config(PCI_COMMAND, std::as_bytes(std::span(&off, 1)));
  CHECK(f.read<uint32_t>(VIRTIO_PCI_COMMON_STATUS) == 0xffffffff);
  const uint16_t on = PCI_COMMAND_MEMORY;
  f.transport->write_config(PCI_COMMAND, std::as_bytes(std::span(&on, 1)));
  f.submit();
  CHECK(f.used_index() == 1);
}

TEST_CASE("virtio-pci: the window in configuration space reads the BAR", "[virtio][pci]") {
  Fixture f(std::make_unique<SlowDevice>());
  const uint64_t at = f.capability(PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG);
  f.set_config<uint32_t>(at + VIRTIO_PCI_CAP_OFFSET, 0x2004);
  f.set_config<uint32_t>(at + VIRTIO_PCI_CAP_LENGTH, 4);
  CHECK(f.config<uint32_t>(at + 16) == 0x07060504);
}

TEST_CASE("virtio-pci: a window wider than its field moves nothing", "[virtio][pci]") {
  Fixture f;
  const uint64_t at = f.capability(PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG);
  f.set_config<uint32_t>(at + VIRTIO_PCI_CAP_OFFSET, VIRTIO_PCI_COMMON_DFSELECT);
  f.set_config<uint32_t>(at + VIRTIO_PCI_CAP_LENGTH, 8);
  f.set_config<uint64_t>(at + 16, 1);
  CHECK(f.read<uint32_t>(VIRTIO_PCI_COMMON_DFSELECT) == 0);
}

TEST_CASE("virtio-pci: any window onto any place moves only what lies in the BAR (P16)", "[virtio][pci]") {
  Fixture f;
  const uint64_t at = f.capability(PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG);
  const uint32_t offset = GENERATE(0u, 0xfffu, 0x2fffu, 0x7fffu, 0x8000u, 0xfffffffcu);
  const uint32_t length = GENERATE(0u, 1u, 2u, 3u, 4u, 8u, 0xffffffffu);
  const uint8_t bar = GENERATE(uint8_t{0}, uint8_t{1}, uint8_t{0xff});
  f.set_config(at + VIRTIO_PCI_CAP_BAR, bar);
  f.set_config(at + VIRTIO_PCI_CAP_OFFSET, offset);
  f.set_config(at + VIRTIO_PCI_CAP_LENGTH, length);
  std::array<std::byte, 8> data = {};
  for (size_t width = 1; width <= data.size(); ++width) {
    f.transport->read_config(at + 16, std::span(data).first(width));
    f.transport->write_config(at + 16, std::span(data).first(width));
  }
  CHECK(f.status() == 0);
}

TEST_CASE("virtio-pci: the capability list is well formed and says where everything lies", "[virtio][pci]") {
  Fixture f(std::make_unique<SlowDevice>());
  std::vector<std::pair<int, int>> found;  // id and, for vendor capabilities, the structure
  std::vector<uint64_t> places;
  for (uint64_t at = f.config<uint8_t>(PCI_CAPABILITY_LIST); at != 0; at = f.config<uint8_t>(at + PCI_CAP_LIST_NEXT)) {
    REQUIRE(at % 4 == 0);
    REQUIRE(at >= 0x40);
    REQUIRE(at < PciDevice::kConfigSize);
    REQUIRE(std::count(places.begin(), places.end(), at) == 0);
    places.push_back(at);
    const int id = f.config<uint8_t>(at);
    found.emplace_back(id, id == PCI_CAP_ID_VNDR ? f.config<uint8_t>(at + VIRTIO_PCI_CAP_CFG_TYPE) : 0);
    CHECK(f.config<uint8_t>(at + VIRTIO_PCI_CAP_BAR) % 8 == 0);  // also the table's indicator
  }
  CHECK(found == std::vector<std::pair<int, int>>{{PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_COMMON_CFG},
                                                  {PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_ISR_CFG},
                                                  {PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_DEVICE_CFG},
                                                  {PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_NOTIFY_CFG},
                                                  {PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG},
                                                  {PCI_CAP_ID_MSIX, 0}});
  CHECK((f.config<uint16_t>(PCI_STATUS) & PCI_STATUS_CAP_LIST) != 0);
}

TEST_CASE("virtio-pci: doorbells follow the BAR, and are gone while it is not decoded (P7)", "[virtio][pci]") {
  Fixture f;
  f.drive();
  CHECK(f.host.doorbells == std::vector<GuestAddress>{{kBar + kNotify}});
  f.set_config<uint16_t>(PCI_COMMAND, 0);
  CHECK(f.host.doorbells.empty());
  f.set_config<uint32_t>(PCI_BASE_ADDRESS_0, 0xffffffff);
  f.set_config<uint32_t>(PCI_BASE_ADDRESS_0, kBar + 0x8000);
  f.set_config<uint16_t>(PCI_COMMAND, PCI_COMMAND_MEMORY);
  CHECK(f.host.doorbells == std::vector<GuestAddress>{{kBar + 0x8000 + kNotify}});
  f.bus.write(kBar + 0x8000 + VIRTIO_PCI_COMMON_STATUS, std::array{std::byte{0}});
  f.host.loop().run_ready();
  CHECK(f.host.doorbells.empty());
}

TEST_CASE("virtio-pci: an interrupt does not wait for a BAR on its way", "[virtio][pci]") {
  Fixture f;
  if (GENERATE(false, true)) f.enable_msix();
  f.drive();
  bool interrupted = false;
  std::future<void> interrupt;
  f.host.on_doorbell = [&] {
    interrupt = std::async(std::launch::async, [&] { f.transport->device().change_config([] {}); });
    interrupted = interrupt.wait_for(std::chrono::seconds(2)) == std::future_status::ready;
  };
  f.set_config<uint32_t>(PCI_BASE_ADDRESS_0, kBar + 0x8000);
  CHECK(interrupted);
}

TEST_CASE("virtio-pci: every width at every offset of the BAR is answered (P16, P19)", "[virtio][pci]") {
  Fixture f(std::make_unique<SlowDevice>());
  std::array<std::byte, 8> data = {};
  for (uint64_t offset = 0; offset < f.transport->bar_size(); ++offset) {
    for (size_t width = 1; width <= data.size(); ++width) {
      data.fill(std::byte{0xff});
      f.transport->write(offset, std::span(data).first(width));
      f.transport->read(offset, std::span(data).first(width));
    }
  }
  f.host.loop().run_ready();
  f.set_status(0);
  f.host.loop().run_ready();
  CHECK(f.status() == 0);
}

TEST_CASE("virtio-pci: a changed configuration has a new generation and an interrupt", "[virtio][pci]") {
  Fixture f;
  f.drive();
  const auto before = f.read<uint8_t>(VIRTIO_PCI_COMMON_CFGGENERATION);
  f.transport->device().change_config([] {});
  CHECK(f.read<uint8_t>(VIRTIO_PCI_COMMON_CFGGENERATION) != before);
  CHECK(f.read<uint8_t>(0x1000) == 2);
}

TEST_CASE("virtio-pci: a stop serves what the driver has made available, though not rung for", "[virtio][pci]") {
  Fixture f;
  f.drive();
  f.host.memory().write_value(GuestAddress{0x10000}, vring_desc{0x20000, 16, VRING_DESC_F_WRITE, 0});
  f.host.memory().write_value(GuestAddress{0x11004}, uint16_t{0});
  f.host.memory().write_value(GuestAddress{0x11002}, uint16_t{1});
  f.transport->stop([] {});
  f.host.loop().run_ready();
  CHECK(f.used_index() == 1);
}

TEST_CASE("virtio-pci: that a driver took the device is known after it has been stopped", "[virtio][pci]") {
  Fixture f;
  CHECK_FALSE(f.transport->was_driven());
  f.drive();
  f.transport->stop([] {});
  f.host.loop().run_ready();
  CHECK(f.transport->was_driven());
}

TEST_CASE("virtio-pci: what is agreed on, the rings' indexes and the messages are told", "[virtio][pci]") {
  Fixture f;
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
    Fixture f;
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
