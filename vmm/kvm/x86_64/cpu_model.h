// CpuModel: which CPU the guest sees: what `--cpu` says, as CPUID leaves.
//
// `host` shows everything that KVM supports here. `baseline` shows x86-64-v1 and what a virtual machine needs besides.
// `+feature` and `-feature` (names as in /proc/cpuinfo) follow, separated by commas: "host,-avx2", "baseline,+sse4_2".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/kvm/kvm.h"
#include "vmm/kvm/vcpu.h"

namespace vmm {

class CpuModel {
 public:
  // Throws Error for an unknown model or feature, listing what is known.
  static CpuModel parse(std::string_view text);

  // The leaves that all vCPUs share. Throws Error when a feature was asked for that the host lacks. Costs milliseconds
  // inside a virtual machine, where each CPUID instruction of the host's kernel leaves that one.
  std::vector<kvm_cpuid_entry2> leaves(const Kvm& kvm) const;

 private:
  struct Change {
    std::string feature;
    bool enable;
  };
  bool baseline_ = false;
  std::vector<Change> changes_;
};

// CPUID leaves with the topology of vCPU `id` of `count`: who it is, and who is beside it.
std::vector<kvm_cpuid_entry2> with_topology(std::vector<kvm_cpuid_entry2> leaves, unsigned id, unsigned count);

// Throws Error, with the --mem that would do, when a CPU of these leaves has too few address bits for memory up to
// `end`.
void require_addresses(const std::vector<kvm_cpuid_entry2>& leaves, uint64_t end);

// Has the host's kernel let this process give large registers (AMX) to a guest, where there are any: KVM offers their
// features only then (Documentation/arch/x86/xstate.rst). To be called before the first vCPU is made.
void request_large_registers(const Kvm& kvm);

// Throws Error when KVM refuses.
void set_cpuid(const Vcpu& vcpu, const std::vector<kvm_cpuid_entry2>& leaves);

}  // namespace vmm
