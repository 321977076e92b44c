// `vmm boot-report`: a trace as text with bars, or two of them beside each other.
#pragma once

#include <string>
#include <vector>

#include "vmm/control/trace/run_trace.h"

namespace vmm {

// The words behind the verb: "F", "F --html F --perfetto F" or "--compare A B". Writes the files that they ask for, and
// returns what is for standard output. Throws Error.
std::string boot_report(const std::vector<std::string>& words);

std::string report_text(const RunTrace& trace);
// `a` and `b` are called by these names.
std::string compare_text(const RunTrace& a, const std::string& a_name, const RunTrace& b, const std::string& b_name);

}  // namespace vmm
