// See control_address.h.
#include "vmm/control/control_address.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "vmm/core/error.h"

namespace vmm {

namespace {

constexpr std::string_view kSuffix = ".sock";

// In /tmp anybody may have made it first: then it is not used.
void make_private(const std::string& folder) {
  if (::mkdir(folder.c_str(), 0700) < 0 && errno != EEXIST) {
    throw Error(fmt::format("cannot make '{}' for control sockets: {}", folder, errno_text(errno)),
                "set XDG_RUNTIME_DIR to a folder of yours, or choose a path with --ctl");
  }
  struct stat status = {};
  const bool mine = ::lstat(folder.c_str(), &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == ::geteuid() &&
                    (status.st_mode & 0077) == 0;
  if (!mine) {
    throw Error(fmt::format("'{}' is not a folder of yours alone, and control sockets belong in one", folder),
                fmt::format("chmod 700 {0}, or rm -r {0}; or choose a path with --ctl", folder));
  }
}

bool same_file(int fd, const std::string& path) {
  struct stat open = {}, named = {};
  return ::fstat(fd, &open) == 0 && ::stat(path.c_str(), &named) == 0 && open.st_dev == named.st_dev &&
         open.st_ino == named.st_ino;
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
  std::error_code error;
  for (std::filesystem::directory_iterator entry(control_directory(), error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string file = entry->path().filename().string();
    if (file.ends_with(kSuffix)) names.push_back(file.substr(0, file.size() - kSuffix.size()));
  }
  std::ranges::sort(names);
  return names;
}

ControlClaim::ControlClaim(const std::string& path) : path_(path + ".lock") {
  if (path.starts_with(control_directory() + "/")) make_private(control_directory());
  const auto refuse = [&](const std::string& why, const std::string& fix) {
    throw Error(fmt::format("cannot listen on control socket '{}': {}", path, why), fix);
  };
  // Whoever held it before may have removed it while we waited to open it: then it is not the lock any more.
  do {
    lock_ = UniqueFd(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!lock_) refuse(errno_text(errno), "choose a path where you may create files");
    if (::flock(lock_.get(), LOCK_EX | LOCK_NB) < 0) {
      refuse("a machine of this name is running", "choose another --name, or end that one: vmm kill NAME");
    }
  } while (!same_file(lock_.get(), path_));
}

ControlClaim::~ControlClaim() { ::unlink(path_.c_str()); }

}  // namespace vmm
