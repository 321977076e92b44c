// Reading modules.dep and modules.builtin; see kernel_modules.h.
#include "vmm/machine/kernel_modules.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

namespace vmm {

namespace {

// "kernel/drivers/block/virtio_blk.ko.xz" -> "virtio_blk". A dash and an underscore are the same in a module's name.
std::string module_name(std::string_view path) {
  std::string name(path.substr(path.rfind('/') + 1));
  name.resize(std::min(name.size(), name.find(".ko")));
  std::ranges::replace(name, '-', '_');
  return name;
}

}  // namespace

std::optional<KernelModules> KernelModules::find(const std::string& release, const std::string& place) {
  std::vector<std::string> candidates;
  if (place.empty()) {
    candidates = {"/lib/modules/" + release, "/usr/lib/modules/" + release};
  } else {
    candidates = {place, fmt::format("{}/lib/modules/{}", place, release),
                  fmt::format("{}/usr/lib/modules/{}", place, release), fmt::format("{}/{}", place, release)};
  }
  for (const std::string& folder : candidates) {
    if (::access((folder + "/modules.dep").c_str(), R_OK) == 0) return KernelModules(folder);
  }
  return std::nullopt;
}

KernelModules::KernelModules(std::string folder) : folder_(std::move(folder)) {
  std::ifstream dependencies(folder_ + "/modules.dep");
  for (std::string line; std::getline(dependencies, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::vector<std::string> files{line.substr(0, colon)};
    std::istringstream needed(line.substr(colon + 1));
    for (std::string file; needed >> file;) files.push_back(file);
    files_[module_name(files.front())] = files;
  }
  std::ifstream built_in(folder_ + "/modules.builtin");
  for (std::string line; std::getline(built_in, line);) built_in_.insert(module_name(line));
}

std::optional<std::vector<std::string>> KernelModules::files_for(std::string_view module) const {
  const std::string name = module_name(module);
  const auto found = files_.find(name);
  if (found == files_.end()) {
    if (built_in_.contains(name)) return std::vector<std::string>();
    return std::nullopt;
  }
  // Each line lists what it needs in the order opposite to loading: the module itself first.
  std::vector<std::string> paths;
  std::transform(found->second.rbegin(), found->second.rend(), std::back_inserter(paths),
                 [this](const std::string& file) { return folder_ + "/" + file; });
  return paths;
}

}  // namespace vmm
