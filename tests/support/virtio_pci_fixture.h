// A device on the PCI transport, and a driver of its registers, doorbells and first queue.
#pragma once

#include <linux/pci_regs.h>

#include <coroutine>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "devices/virtio/rng.h"
#include "devices/virtio/spec.h"
#include "devices/virtio/virtio_pci.h"
#include "tests/support/fake_device_host.h"
#include "tests/support/fake_irq_line.h"
#include "tests/support/transport_driver.h"

namespace vmm::test {

// A device that keeps the chains it takes until told, and counts lifecycle calls.
class SlowVirtioDevice : public VirtioDevice {
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
    SlowVirtioDevice& device;
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

struct VirtioPciFixture : TransportDriver {
  explicit VirtioPciFixture(std::unique_ptr<VirtioDevice> device = std::make_unique<VirtioRng>())
      : transport(std::make_unique<VirtioPci>(host, std::move(device))) {
    auto line = std::make_unique<FakeIrqLine>();
    wire = line.get();
    transport->plug(bus, kBar, std::move(line), 11);
  }
  ~VirtioPciFixture() {
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
  FakeIrqLine* wire = nullptr;
  uint16_t available = 0;
  std::unique_ptr<VirtioPci> transport;
};

}  // namespace vmm::test
