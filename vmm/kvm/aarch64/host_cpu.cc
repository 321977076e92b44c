// The host's CPU, if that is an ARM of 64 bits; see vmm/kvm/host_cpu.h.
#include "vmm/kvm/host_cpu.h"

#include <fmt/core.h>

#include <string>

namespace vmm {

// Nothing in /proc tells whether the kernel was started at EL2; but it has a /dev/kvm only then.
bool cpu_has_virtualization() { return true; }

std::string_view virtualization_mark() { return "EL2, which /dev/kvm takes"; }

Error no_kvm() {
  return Error("no /dev/kvm: the kernel has no KVM, or was not started at EL2",
               "see why: dmesg | grep -i kvm (a virtual machine needs nested virtualization)");
}

void check_cpu_model(std::string_view text) {
  if (text != "host")
    throw Error(fmt::format("unknown CPU model '{}': a guest sees the host's CPU", text), "--cpu host");
}

uint64_t cpu_ticks() {
  uint64_t ticks = 0;
  asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
}

}  // namespace vmm
