// The flags of a run, as values in a CommandLine. What several of them mean together, and what is there when one was
// left out, is for the caller (command_line.h).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/control/cli/command_line.h"

namespace vmm {

// Takes them into `line`, in the order in which they were typed, and returns the words that are none of them. What is
// refused throws Error.
std::vector<std::string> take_run_flags(std::vector<std::string> arguments, CommandLine& line);

// All flags of a run, without their dashes; true for those that take a value.
const std::map<std::string, bool, std::less<>>& run_flags();
// Whether this flag of a run, named without its dashes, takes a value; empty when there is no such flag.
std::optional<bool> run_flag_takes_value(std::string_view name);

// "1G", "512M", "1.5G", "65536K"; a plain number is MiB, as everywhere in this field. Throws Error, which names `flag`.
uint64_t parse_size(std::string_view flag, const std::string& text);

}  // namespace vmm
