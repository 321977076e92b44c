// What `vmm help --format=F` prints: the manual page vmm(1), and completions for shells, made of what `vmm --help` says
// and of the flags and verbs that the program takes. A build installs them.
#pragma once

#include <string>
#include <string_view>

namespace vmm {

// Throws Error when there is no such format: man, bash, zsh or fish.
std::string formatted_help(std::string_view format, std::string_view version);

// The words that `flag` (with its dashes) may have as its value according to the help, "exit|pause|gdb|dump", each
// with a blank before it; empty where it takes anything.
std::string choices_of(std::string_view flag);

}  // namespace vmm
