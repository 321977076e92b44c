// What a run says about itself on standard error: before it starts, when it has ended, and instead of running.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "vmm/machine/backends.h"
#include "vmm/machine/config.h"
#include "vmm/machine/outcome.h"

namespace vmm {

// Two lines: what boots, and where its console is. `escape`: the name of the key that leads to the help, or empty.
void print_banner(const MachineConfig& config, const Backends& backends, const std::string& escape);
// One line that says how it ended, after how long; then what is known beyond that.
void print_outcome(const Outcome& outcome, std::chrono::duration<double> after, uint64_t exits);
// Each line of `text` as it is, on standard error.
void print_lines(std::string_view text);

// What --dry-run prints: the configuration as it would be used, and the memory map.
std::string describe_machine(const MachineConfig& config, const Backends& backends);

}  // namespace vmm
