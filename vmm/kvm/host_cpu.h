// What of the host's CPU matters before anything runs on it. Each architecture has its own answers, in its folder.
#pragma once

#include <cstdint>
#include <string_view>

#include "vmm/core/error.h"

namespace vmm {

// Where the CPU, or the machine around this one, has hardware virtualization, as far as that can be seen.
bool cpu_has_virtualization();
// What shows that: "svm or vmx in /proc/cpuinfo".
std::string_view virtualization_mark();
// Why there is no /dev/kvm, and how to get one.
Error no_kvm();

// Throws Error unless `--cpu TEXT` names a CPU that a guest can be shown.
void check_cpu_model(std::string_view text);

// The CPU's own clock, which takes a few cycles to read.
uint64_t cpu_ticks();

}  // namespace vmm
