// DeviceHost: all that a device may ask of the world. machine/kvm_device_host.cc answers with KVM, and
// tests/support/fake_device_host.h with a record of what was asked.
#pragma once

#include <memory>

#include "devices/irq.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/fd.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

// While it lives, a write of the guest to one address signals an EventFd without leaving the kernel.
class DoorbellRegistration {
 public:
  virtual ~DoorbellRegistration() = default;
};

class DeviceHost {
 public:
  virtual ~DeviceHost() = default;

  virtual GuestMemory& memory() = 0;
  virtual EventLoop& loop() = 0;
  // Sends one message-signalled interrupt. Any thread. A message that means nothing to the interrupt controller is
  // logged once and dropped.
  virtual void signal_msi(const MsiMessage& message) = 0;
  // Any write, of any width, to the memory-mapped register at `address`. Null when the host refuses; the device must
  // then notice the write by itself, in Device::write().
  virtual std::unique_ptr<DoorbellRegistration> register_doorbell(GuestAddress address, const EventFd& event) = 0;
};

}  // namespace vmm
