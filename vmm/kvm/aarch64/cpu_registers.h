// CpuRegisters: all of an ARM CPU's registers that a debugger shows, copied out of KVM and back. System registers are
// those of EL1 and EL0 that tell where its kernel is and what it runs into (Arm ARM, D19.2).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "vmm/kvm/vcpu.h"

namespace vmm {

struct CpuRegisters {
  std::array<uint64_t, 31> x{};
  uint64_t sp = 0;  // the one in use
  uint64_t pc = 0;
  uint64_t pstate = 0;  // as SPSR_EL1 has it
  std::array<std::array<std::byte, 16>, 32> v{};
  uint32_t fpsr = 0, fpcr = 0;
  uint64_t sp_el0 = 0, elr_el1 = 0, spsr_el1 = 0, esr_el1 = 0, far_el1 = 0;
  uint64_t sctlr_el1 = 0, tcr_el1 = 0, ttbr0_el1 = 0, ttbr1_el1 = 0, mair_el1 = 0, vbar_el1 = 0;
  uint64_t contextidr_el1 = 0, tpidr_el0 = 0, tpidr_el1 = 0;
};

// PSTATE of the SPSR format: interrupts are masked (I); the mode (M[3:0]) is EL1 with a stack pointer of its own.
constexpr uint64_t kPstateIrqMasked = 1 << 7;
constexpr uint64_t kPstateMode = 0xf, kPstateEl1h = 5;

// At rest, as all calls of Vcpu. What the host does not tell is zero.
CpuRegisters read_registers(const Vcpu& vcpu);
// Writes what differs from `before`. False when KVM refuses some of it; the rest may have been written.
bool write_registers(const Vcpu& vcpu, const CpuRegisters& before, const CpuRegisters& wanted);

}  // namespace vmm
