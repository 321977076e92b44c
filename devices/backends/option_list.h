// The text of a flag as a list: VALUE[,OPTION]... A comma that belongs to a value is doubled, as for QEMU.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vmm {

// The parts between single commas; at least one.
std::vector<std::string> split_options(std::string_view text);

}  // namespace vmm
