// What `vmm --help` prints: all there is on one screen, by need.
#pragma once

#include <string>

namespace vmm {

std::string help_text();

}  // namespace vmm
