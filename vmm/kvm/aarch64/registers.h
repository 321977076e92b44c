// The registers of an ARM vCPU, by KVM_GET_ONE_REG and KVM_SET_ONE_REG, and its first state.
// Documentation/virt/kvm/api.rst, 4.68 and 4.82.
#pragma once

#include <array>
#include <cstdint>

#include "vmm/kvm/kvm.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/kvm/vm.h"

namespace vmm {

struct CoreRegisters {
  std::array<uint64_t, 31> x{};
  uint64_t sp_el0 = 0, sp_el1 = 0;
  uint64_t pc = 0;
  uint64_t pstate = 0;
};
struct SystemRegisters {
  uint64_t sctlr_el1 = 0, tcr_el1 = 0, ttbr1_el1 = 0, tpidr_el1 = 0;
};

// PSTATE of the SPSR format: interrupts are masked (I); the mode (M[3:0]) is EL1 with a stack pointer of its own.
constexpr uint64_t kPstateIrqMasked = 1 << 7;
constexpr uint64_t kPstateMode = 0xf, kPstateEl1h = 5;

// Makes it a CPU like the host's, with PSCI 0.2 or later by HVC; one that is not the first is off until the guest turns
// it on. Once, before any other call. Throws Error.
void init_vcpu(const Vm& vm, const Vcpu& vcpu);
// Where the first CPU starts, at EL1 with interrupts masked, as init_vcpu() leaves it. Throws Error.
void set_entry(const Vcpu& vcpu, uint64_t pc, uint64_t x0);
// Its affinity, by which interrupt controllers, PSCI and device trees know it (MPIDR_EL1, but for the flags).
uint64_t affinity(const Vcpu& vcpu);
// At rest.
CoreRegisters core_registers(const Vcpu& vcpu);
SystemRegisters system_registers(const Vcpu& vcpu);

}  // namespace vmm
