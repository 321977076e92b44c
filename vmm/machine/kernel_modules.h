// KernelModules: the loadable modules of one kernel release, as `make modules_install` and packages lay them out:
// FOLDER/modules.dep and FOLDER/modules.builtin (man 5 modules.dep) and the files they name.
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
  // Those of `release`, at `place` when it is not empty: their own folder, or one that holds lib/modules/RELEASE or
  // RELEASE; else the host's own, in /lib/modules. Nothing when there are none.
  static std::optional<KernelModules> find(const std::string& release, const std::string& place);

  // The files that a module needs, itself last, in the order in which they must be loaded; empty when it is built into
  // the kernel; nothing when there is no such module.
  std::optional<std::vector<std::string>> files_for(std::string_view module) const;

  const std::string& folder() const { return folder_; }

 private:
  explicit KernelModules(std::string folder);

  std::string folder_;
  std::map<std::string, std::vector<std::string>> files_;  // of a module by its name: modules.dep's line
  std::set<std::string> built_in_;
};

}  // namespace vmm
