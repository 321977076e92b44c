// The host's CPU, if that is an x86; see vmm/kvm/host_cpu.h.
#include "vmm/kvm/host_cpu.h"

#include <x86intrin.h>

#include <fstream>
#include <string>

#include "vmm/kvm/x86_64/cpu_model.h"

namespace vmm {

bool cpu_has_virtualization() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (!line.starts_with("flags")) continue;
    return (line + ' ').find(" svm ") != std::string::npos || (line + ' ').find(" vmx ") != std::string::npos;
  }
  return false;
}

std::string_view virtualization_mark() { return "svm or vmx in /proc/cpuinfo"; }

Error no_kvm() {
  if (!cpu_has_virtualization()) {
    return Error("no /dev/kvm: this CPU or virtual machine has no virtualization (no svm or vmx in /proc/cpuinfo)",
                 "enable it in the firmware, or nested virtualization in the machine around this one");
  }
  return Error("no /dev/kvm: the kvm module is not loaded", "sudo modprobe kvm_amd || sudo modprobe kvm_intel");
}

void check_cpu_model(std::string_view text) { CpuModel::parse(text); }

uint64_t cpu_ticks() { return __rdtsc(); }

}  // namespace vmm
