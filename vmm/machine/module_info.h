// ModuleInfo: what a loadable module of Linux says of itself in its .modinfo section (include/linux/moduleinfo.h):
// KEY=VALUE texts, each with its NUL.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace vmm {

struct ModuleInfo {
  std::vector<std::string> needs;    // modules that it takes functions from
  std::vector<std::string> before;   // of softdep: what it would ask for when it runs, modules or aliases
  std::vector<std::string> aliases;  // names it answers to beside its own
};

// The content of a module's file, unpacked when it is compressed: not every kernel can do that. Throws Error.
std::vector<std::byte> read_module(const std::string& path);

// What such a content says. What is no module, or a damaged one, says nothing.
ModuleInfo module_info(std::span<const std::byte> content);

}  // namespace vmm
