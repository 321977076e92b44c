// KernelModules: the loadable modules of one kernel release, as `make modules_install` and packages lay them out:
// FOLDER/modules.dep, modules.builtin, modules.softdep and modules.alias (man 5 modules.dep, modprobe.d) and the files
// they name.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
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
  explicit KernelModules(std::string folder);
  void add_files(const std::string& module, std::vector<std::string>& paths, std::set<std::string>& seen) const;
  // The modules that go by this name.
  std::vector<std::string> called(const std::string& name) const;

  std::string folder_;
  std::map<std::string, std::vector<std::string>> files_;   // of a module by its name: modules.dep's line
  std::map<std::string, std::vector<std::string>> before_;  // of a module: modules.softdep's "pre" names
  std::set<std::string> built_in_;
};

}  // namespace vmm
