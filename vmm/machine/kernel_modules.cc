// Reading what depmod wrote, or the modules themselves; see kernel_modules.h.
#include "vmm/machine/kernel_modules.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "vmm/core/error.h"
#include "vmm/machine/module_info.h"

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
    const bool has_lists = ::access((folder + "/modules.dep").c_str(), R_OK) == 0;
    if (!has_lists && ::access((folder + "/modules.order").c_str(), R_OK) != 0) continue;
    KernelModules modules(folder);
    has_lists ? modules.read_lists() : modules.find_files();
    std::ifstream built_in(folder + "/modules.builtin");
    for (std::string line; std::getline(built_in, line);) modules.built_in_.insert(module_name(line));
    return modules;
  }
  return std::nullopt;
}

void KernelModules::read_lists() {
  std::ifstream dependencies(folder_ + "/modules.dep");
  for (std::string line; std::getline(dependencies, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    Module module{.file = line.substr(0, colon), .needs = {}, .before = {}};
    std::istringstream needed(line.substr(colon + 1));
    for (std::string file; needed >> file;) module.needs.push_back(module_name(file));
    modules_[module_name(module.file)] = std::move(module);
  }
  // "softdep ext4 pre: crypto-crc32c post: NAME..."
  std::ifstream soft(folder_ + "/modules.softdep");
  for (std::string line; std::getline(soft, line);) {
    std::istringstream words(line);
    std::string word, name;
    if (!(words >> word >> name) || word != "softdep") continue;
    const auto module = modules_.find(module_name(name));
    for (bool before = false; module != modules_.end() && words >> word;) {
      if (word.ends_with(':')) {
        before = word == "pre:";
      } else if (before) {
        module->second.before.push_back(word);
      }
    }
  }
}

void KernelModules::find_files() {
  namespace fs = std::filesystem;
  has_lists_ = false;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    const std::string file = fs::relative(entry->path(), folder_, error).string();
    const size_t suffix = file.rfind(".ko");
    const bool is_module = suffix != std::string::npos && (suffix + 3 == file.size() || file[suffix + 3] == '.');
    if (is_module) modules_[module_name(file)] = {.file = file, .needs = {}, .before = {}};
  }
}

KernelModules::Module KernelModules::about(const std::string& name) const {
  Module module = modules_.at(name);
  if (has_lists_) return module;
  ModuleInfo info = module_info(read_module(folder_ + "/" + module.file));
  for (const std::string& needed : info.needs) module.needs.push_back(module_name(needed));
  module.before = std::move(info.before);
  return module;
}

std::optional<std::vector<std::string>> KernelModules::files_for(std::string_view module) const {
  const std::string name = module_name(module);
  std::vector<std::string> paths;
  if (!modules_.contains(name)) return built_in_.contains(name) ? std::optional(paths) : std::nullopt;
  std::set<std::string> seen;
  add_files(name, paths, seen);
  return paths;
}

// A line of modules.dep lists what a module needs in the order opposite to loading.
void KernelModules::add_files(const std::string& name, std::vector<std::string>& paths,
                              std::set<std::string>& seen) const {
  if (!modules_.contains(name) || !seen.insert(name).second) return;
  Module module = about(name);
  std::ranges::reverse(module.needs);
  for (const std::string& needed : module.needs) add_files(needed, paths, seen);
  for (const std::string& wanted : module.before) {
    for (const std::string& other : called(wanted)) add_files(other, paths, seen);
  }
  paths.push_back(folder_ + "/" + module.file);
}

std::vector<std::string> KernelModules::called(const std::string& name) const {
  if (modules_.contains(module_name(name))) return {module_name(name)};
  if (!has_lists_) return answering_to(name);
  std::vector<std::string> modules;
  std::ifstream aliases(folder_ + "/modules.alias");
  const std::string beginning = "alias " + name + " ";
  for (std::string line; std::getline(aliases, line);) {
    if (line.starts_with(beginning)) modules.push_back(module_name(line.substr(beginning.size())));
  }
  return modules;
}

// To read thousands of modules would take minutes. Those that answer to "crypto-NAME" are called NAME, or NAME and
// something more.
std::vector<std::string> KernelModules::answering_to(const std::string& alias) const {
  const std::string stem = module_name(alias.substr(alias.find('-') + 1));
  std::vector<std::string> answering;
  for (const auto& [name, module] : modules_) {
    if (stem.empty() || !name.starts_with(stem)) continue;
    const ModuleInfo info = module_info(read_module(folder_ + "/" + module.file));
    if (std::ranges::find(info.aliases, alias) != info.aliases.end()) answering.push_back(name);
  }
  return answering;
}

}  // namespace vmm
