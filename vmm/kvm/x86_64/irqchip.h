// The interrupt controllers of a PC, all in the kernel: two 8259A (the PIC), an IO-APIC and the CPUs' local APICs. With
// them comes the PIT.
#pragma once

#include <cstdint>

#include "vmm/kvm/kvm.h"
#include "vmm/kvm/vm.h"

namespace vmm {

// Before any vCPU. Throws Error.
void create_irqchip(const Kvm& kvm, const Vm& vm);
// Makes inputs 0 to 15 named in `mask` level triggered in the PIC, as a firmware would for PCI wires. Throws Error.
void set_level_triggered(const Vm& vm, uint16_t mask);
// A non-maskable interrupt to every vCPU. Any thread.
void send_nmi(const Vm& vm);

}  // namespace vmm
