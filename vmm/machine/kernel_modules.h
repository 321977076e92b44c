// KernelModules: the loadable modules of one kernel release, as `make modules_install` and packages lay them out:
// FOLDER/modules.dep, modules.builtin, modules.softdep and modules.alias (man 5 modules.dep, modprobe.d) and the files
// they name. A package that was unpacked and not installed has no modules.dep: there the modules themselves say what
// they need (module_info.h), and only those that are asked for are read.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vmm {

class KernelModules {
 public:
  // Modules of `release`, at `place` when it is not empty: their own folder, or one that holds lib/modules/RELEASE or
  // RELEASE; else the host's own, in /lib/modules. Nothing when there are none.
  static std::optional<KernelModules> find(const std::string& release, const std::string& place);

  // The files that a module needs, itself last, in the order in which they must be loaded; empty when it is built into
  // the kernel; nothing when there is no such module. What it would ask the kernel for when it runs, as file systems do
  // for checksums, comes before it.
  std::optional<std::vector<std::string>> files_for(std::string_view module) const;

  const std::string& folder() const { return folder_; }

 private:
  struct Module {
    std::string file;                 // in the folder
    std::vector<std::string> needs;   // names, the nearest first
    std::vector<std::string> before;  // names or aliases of what comes before it
  };

  explicit KernelModules(std::string folder) : folder_(std::move(folder)) {}
  void read_lists();  // what depmod wrote
  void find_files();  // without it
  Module about(const std::string& name) const;
  void add_files(const std::string& name, std::vector<std::string>& paths, std::set<std::string>& seen) const;
  // The modules that go by this name.
  std::vector<std::string> called(const std::string& name) const;
  std::vector<std::string> answering_to(const std::string& alias) const;

  std::string folder_;
  bool has_lists_ = true;
  std::map<std::string, Module> modules_;  // by name
  std::set<std::string> built_in_;
};

}  // namespace vmm
