// Devices' wishes, granted by KVM; see kvm_device_host.h.
#include "vmm/machine/kvm_device_host.h"

#include <utility>

#include "vmm/core/check.h"

namespace vmm {

namespace {

class KvmDoorbell : public DoorbellRegistration {
 public:
  KvmDoorbell(const Vm& vm, GuestAddress address, const EventFd& event) : vm_(vm), address_(address), event_(event) {}
  ~KvmDoorbell() override { vm_.remove_doorbell(address_, event_); }

 private:
  const Vm& vm_;
  GuestAddress address_;
  const EventFd& event_;
};

}  // namespace

class KvmDeviceHost::Line : public IrqLine {
 public:
  Line(KvmDeviceHost& host, uint8_t input) : host_(host), input_(input) {}
  ~Line() override { set(false); }

  void set(bool level) override {
    // The lock is held over the ioctl, so that two sources cannot leave the input at the older of two levels.
    const std::lock_guard lock(host_.inputs_mutex_);
    if (std::exchange(high_, level) == level) return;
    unsigned& sources = host_.inputs_high_[input_];
    sources = level ? sources + 1 : sources - 1;
    if (sources == (level ? 1u : 0u)) host_.vm_.set_irq_line(input_, level);
  }

 private:
  KvmDeviceHost& host_;
  const uint8_t input_;
  bool high_ = false;
};

std::unique_ptr<IrqLine> KvmDeviceHost::irq_line(uint8_t input) {
  CHECK(input < inputs_high_.size());
  return std::make_unique<Line>(*this, input);
}

void KvmDeviceHost::signal_msi(const MsiMessage& message) {
  if (vm_.signal_msi(message.address, message.data, message.requester)) return;
  if (message_frame_ && message_frame_(message)) return;
  guest_warn(log_limit_, "an interrupt message to {:#x} (data {:#x}) reaches no interrupt controller; dropped",
             message.address, message.data);
}

std::unique_ptr<DoorbellRegistration> KvmDeviceHost::register_doorbell(GuestAddress address, const EventFd& event) {
  if (!vm_.add_doorbell(address, event)) return nullptr;
  return std::make_unique<KvmDoorbell>(vm_, address, event);
}

}  // namespace vmm
