// KvmDeviceHost: the DeviceHost of a real machine, and the wires of its interrupt controllers.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "devices/device_host.h"
#include "vmm/core/log.h"
#include "vmm/kvm/vm.h"

namespace vmm {

class KvmDeviceHost : public DeviceHost {
 public:
  KvmDeviceHost(GuestMemory& memory, EventLoop& loop, const Vm& vm) : memory_(memory), loop_(loop), vm_(vm) {}

  GuestMemory& memory() override { return memory_; }
  EventLoop& loop() override { return loop_; }
  void signal_msi(const MsiMessage& message) override;
  std::unique_ptr<DoorbellRegistration> register_doorbell(GuestAddress address, const EventFd& event) override;

  // Where messages go that KVM's interrupt controllers do not take. Called once, before the guest runs; `take` is
  // called on any thread, and false when it does not take one either.
  void set_message_frame(std::function<bool(const MsiMessage&)> take) { message_frame_ = std::move(take); }

  // A new source on an input of the interrupt controllers (0 to 63); the input is the OR of its sources.
  std::unique_ptr<IrqLine> irq_line(uint8_t input);

 private:
  class Line;
  GuestMemory& memory_;
  EventLoop& loop_;
  const Vm& vm_;
  std::function<bool(const MsiMessage&)> message_frame_;
  LogLimit log_limit_;
  std::mutex inputs_mutex_;
  std::array<unsigned, 64> inputs_high_{};  // sources that hold each input high
};

}  // namespace vmm
