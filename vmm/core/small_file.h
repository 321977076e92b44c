// read_small_file(): a file that somebody wrote by hand, whole.
//
// It may be a pipe, as a shell's <(COMMAND) is, and then is waited for. What has no end, such as /dev/zero, is refused.
#pragma once

#include <cstddef>
#include <string>

namespace vmm {

constexpr size_t kMostOfSmallFile = size_t{1} << 20;

// `what` it is, for messages: "--allow", or empty. Throws Error, with this fix.
std::string read_small_file(const std::string& what, const std::string& path, const std::string& fix);

}  // namespace vmm
