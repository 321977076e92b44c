// Reading what depmod wrote; see kernel_modules.h.
#include "vmm/machine/kernel_modules.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "vmm/core/error.h"

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
  // As a package leaves them that was unpacked and not installed.
  for (const std::string& folder : candidates) {
    if (place.empty() || !folder.ends_with("/" + release)) continue;
    if (::access((folder + "/modules.order").c_str(), R_OK) != 0) continue;
    throw Error(fmt::format("'{}' has modules, but no modules.dep that says what they need", folder),
                fmt::format("depmod -b DIR {}, where DIR is what holds lib/modules", release));
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
  // "softdep ext4 pre: crypto-crc32c post: NAME..."
  std::ifstream soft(folder_ + "/modules.softdep");
  for (std::string line; std::getline(soft, line);) {
    std::istringstream words(line);
    std::string word, module;
    if (!(words >> word >> module) || word != "softdep") continue;
    bool before = false;
    while (words >> word) {
      if (word.ends_with(':')) {
        before = word == "pre:";
      } else if (before) {
        before_[module_name(module)].push_back(word);
      }
    }
  }
}

std::optional<std::vector<std::string>> KernelModules::files_for(std::string_view module) const {
  const std::string name = module_name(module);
  std::vector<std::string> paths;
  if (!files_.contains(name)) return built_in_.contains(name) ? std::optional(paths) : std::nullopt;
  std::set<std::string> seen;
  add_files(name, paths, seen);
  return paths;
}

// Each line of modules.dep lists what a module needs in the order opposite to loading: itself first.
void KernelModules::add_files(const std::string& module, std::vector<std::string>& paths,
                              std::set<std::string>& seen) const {
  const auto files = files_.find(module);
  if (files == files_.end() || seen.contains(module)) return;
  for (auto file = files->second.rbegin(); file != files->second.rend(); ++file) {
    const std::string name = module_name(*file);
    if (!seen.insert(name).second) continue;
    if (const auto before = before_.find(name); before != before_.end()) {
      for (const std::string& wanted : before->second) {
        for (const std::string& other : called(wanted)) add_files(other, paths, seen);
      }
    }
    paths.push_back(folder_ + "/" + *file);
  }
}

std::vector<std::string> KernelModules::called(const std::string& name) const {
  if (files_.contains(module_name(name))) return {module_name(name)};
  std::vector<std::string> modules;
  std::ifstream aliases(folder_ + "/modules.alias");
  const std::string beginning = "alias " + name + " ";
  for (std::string line; std::getline(aliases, line);) {
    if (line.starts_with(beginning)) modules.push_back(line.substr(beginning.size()));
  }
  return modules;
}

}  // namespace vmm
