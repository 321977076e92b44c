// Vm: one virtual machine of KVM: its memory slots, in-kernel interrupt controllers and doorbells.
#pragma once

#include <cstdint>

#include "vmm/core/fd.h"
#include "vmm/core/guest_memory.h"
#include "vmm/kvm/kvm.h"

namespace vmm {

class Vm {
 public:
  // Creates the machine with all of `memory` mapped, and on x86 the PIC, IO-APIC and PIT in the kernel. Throws Error.
  Vm(const Kvm& kvm, const GuestMemory& memory);

  int fd() const { return fd_.get(); }

  // An input of the interrupt controllers. Any thread.
  void set_irq_line(uint32_t gsi, bool level) const;
  // Makes inputs 0 to 15 named in `mask` level triggered in the PIC, as a firmware would for PCI wires.
  void set_level_triggered(uint16_t mask) const;
  // False when the message means nothing to the interrupt controller. Any thread.
  bool signal_msi(uint64_t address, uint32_t data) const;
  // A non-maskable interrupt to every vCPU. Any thread.
  void send_nmi() const;
  // A guest write of any width at `address` signals `event` until it is taken back. False when the host refuses.
  bool add_doorbell(GuestAddress address, const EventFd& event) const;
  void remove_doorbell(GuestAddress address, const EventFd& event) const;

 private:
  int ioeventfd(GuestAddress address, const EventFd& event, uint32_t flags) const;

  UniqueFd fd_;
};

}  // namespace vmm
