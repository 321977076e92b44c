// The user's folder of sockets, and the path for a name; see control_address.h.
#include "vmm/control/socket/control_address.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "vmm/core/error.h"

namespace vmm {

namespace {

constexpr std::string_view kSuffix = ".sock";

// In /tmp anybody may have made it first: then it is not used. `open_to` others: what they must not have there.
bool is_ours(const std::string& folder, mode_t open_to) {
  struct stat status = {};
  return ::lstat(folder.c_str(), &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == ::geteuid() &&
         (status.st_mode & open_to) == 0;
}

void make_private(const std::string& folder) {
  if (::mkdir(folder.c_str(), 0700) < 0 && errno != EEXIST) {
    throw Error(fmt::format("cannot make '{}' for control sockets: {}", folder, errno_text(errno)),
                "set XDG_RUNTIME_DIR to a folder of yours, or choose a path with --ctl");
  }
  if (!is_ours(folder, 0077)) {
    throw Error(fmt::format("'{}' is not a folder of yours alone, and control sockets belong in one", folder),
                fmt::format("chmod 700 {0}, or rm -r {0}; or choose a path with --ctl", folder));
  }
}

}  // namespace

std::string control_directory() {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && *runtime == '/') return fmt::format("{}/vmm", runtime);
  return fmt::format("/tmp/vmm-{}", ::geteuid());
}

std::string control_path(std::string_view name) {
  if (name.find('/') != name.npos) return std::string(name);
  const bool plain = std::ranges::all_of(name, [](char c) { return c > ' ' && c <= '~'; });
  if (name.empty() || name.starts_with('.') || !plain) {
    throw Error(fmt::format("no machine can be called '{}'", name), "letters, digits, - and _");
  }
  return fmt::format("{}/{}{}", control_directory(), name, kSuffix);
}

std::vector<std::string> control_names() {
  std::vector<std::string> names;
  if (!is_ours(control_directory(), 0022)) return names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(control_directory(), error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string file = entry->path().filename().string();
    if (file.ends_with(kSuffix)) names.push_back(file.substr(0, file.size() - kSuffix.size()));
  }
  std::ranges::sort(names);
  return names;
}

PathLock claim_control_path(const std::string& path) {
  if (path.starts_with(control_directory() + "/")) make_private(control_directory());
  if (auto lock = PathLock::try_take("control socket", path)) return std::move(*lock);
  throw Error(fmt::format("cannot listen on control socket '{}': a machine of this name is running", path),
              "choose another --name, or end that one: vmm kill NAME");
}

}  // namespace vmm
