// The registers of an x86 vCPU, each kind as KVM has it, at rest. All together, for a debugger: cpu_registers.h.
#pragma once

#include <cstdint>
#include <optional>

#include "vmm/core/guest_memory.h"
#include "vmm/kvm/vcpu.h"

namespace vmm {

kvm_regs get_regs(const Vcpu& vcpu);
kvm_sregs get_sregs(const Vcpu& vcpu);
// Both throw Error when KVM refuses.
void set_regs(const Vcpu& vcpu, const kvm_regs& regs);
void set_sregs(const Vcpu& vcpu, const kvm_sregs& sregs);
// KVM refuses what the host's CPU lacks: nothing, or false, then.
std::optional<uint64_t> get_msr(const Vcpu& vcpu, uint32_t index);
bool set_msr(const Vcpu& vcpu, uint32_t index, uint64_t value);

}  // namespace vmm
