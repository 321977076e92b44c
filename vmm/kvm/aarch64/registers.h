// An ARM vCPU's first state, and who it is. Its registers are in cpu_registers.h. Documentation/virt/kvm/api.rst, 4.68
// and 4.82.
#pragma once

#include <cstdint>

#include "vmm/kvm/kvm.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/kvm/vm.h"

namespace vmm {

// Makes it a CPU like the host's, with PSCI 0.2 or later by HVC; one that is not the first is off until the guest turns
// it on. Once, before any other call. Throws Error.
void init_vcpu(const Vm& vm, const Vcpu& vcpu);
// Where the first CPU starts, at EL1 with interrupts masked, as init_vcpu() leaves it. Throws Error.
void set_entry(const Vcpu& vcpu, uint64_t pc, uint64_t x0);
// Its affinity, by which interrupt controllers, PSCI and device trees know it (MPIDR_EL1, but for the flags).
uint64_t affinity(const Vcpu& vcpu);

}  // namespace vmm
