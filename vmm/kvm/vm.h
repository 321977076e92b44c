// Vm: one virtual machine of KVM: its memory slots, interrupts and doorbells. The interrupt controllers in the kernel
// are the architecture's, and so is what a number or a message means to them: vmm/kvm/ARCH.
#pragma once

#include <cstdint>

#include "vmm/core/fd.h"
#include "vmm/core/guest_memory.h"
#include "vmm/kvm/kvm.h"

namespace vmm {

class Vm {
 public:
  // Creates the machine with all of `memory` mapped, and nothing else in it. Throws Error.
  Vm(const Kvm& kvm, const GuestMemory& memory);

  int fd() const { return fd_.get(); }

  // An input of the interrupt controllers. Any thread.
  void set_irq_line(uint32_t input, bool level) const;
  // A message from the device with this PCI requester id. False when it means nothing to the interrupt controllers. Any
  // thread.
  bool signal_msi(uint64_t address, uint32_t data, uint32_t device_id) const;
  // A guest write of any width at `address` signals `event` until it is taken back. False when the host refuses.
  bool add_doorbell(GuestAddress address, const EventFd& event) const;
  void remove_doorbell(GuestAddress address, const EventFd& event) const;

 private:
  // What KVM_CREATE_VM is told about the machine.
  static unsigned long type(const Kvm& kvm, const GuestMemory& memory);
  int ioeventfd(GuestAddress address, const EventFd& event, uint32_t flags) const;

  UniqueFd fd_;
};

// Throws Error, "KVM cannot WHAT: why", for an answer of KVM below zero.
void require(int result, const char* what);

}  // namespace vmm
