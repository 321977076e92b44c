// FakeDeviceHost: a world for one device. A little memory, a loop stepped by hand, and a record of the interrupts.
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "devices/device_host.h"

namespace vmm::test {

class FakeDeviceHost : public DeviceHost {
 public:
  static constexpr uint64_t kMemorySize = 4 << 20;

  explicit FakeDeviceHost(GuestMemory::Backing backing = GuestMemory::Backing::kPrivate)
      : memory_(std::array{GuestMemory::Range{{0}, kMemorySize}}, backing) {}

  GuestMemory& memory() override { return memory_; }
  EventLoop& loop() override { return loop_; }
  void signal_msi(const MsiMessage& message) override { messages.push_back(message); }
  std::unique_ptr<DoorbellRegistration> register_doorbell(GuestAddress address, const EventFd&) override {
    if (on_doorbell) on_doorbell();
    doorbells.push_back(address);
    return std::make_unique<Doorbell>(*this, address);
  }

  std::vector<MsiMessage> messages;
  std::vector<GuestAddress> doorbells;  // those registered now
  std::function<void()> on_doorbell;    // while one is being registered

 private:
  struct Doorbell : DoorbellRegistration {
    Doorbell(FakeDeviceHost& its_host, GuestAddress its_address) : host(its_host), address(its_address) {}
    ~Doorbell() override { std::erase(host.doorbells, address); }
    FakeDeviceHost& host;
    GuestAddress address;
  };

  GuestMemory memory_;
  EventLoop loop_;
};

}  // namespace vmm::test
