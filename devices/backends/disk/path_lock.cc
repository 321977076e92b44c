// The lock file: taken and removed so that nobody locks one that is already gone; see path_lock.h.
#include "devices/backends/disk/path_lock.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "vmm/core/error.h"

namespace vmm {

namespace {

constexpr std::chrono::milliseconds kPause{10};
constexpr unsigned kTries = 200;  // a lock for listening is held for much less than a pause

bool same_file(const struct stat& open, const std::string& path) {
  struct stat named = {};
  return ::stat(path.c_str(), &named) == 0 && open.st_dev == named.st_dev && open.st_ino == named.st_ino;
}

}  // namespace

std::optional<PathLock> PathLock::try_take(std::string_view what, const std::string& path) {
  const std::string file = path + ".lock";
  const auto refuse = [&](const std::string& why, const std::string& fix) {
    throw Error(fmt::format("cannot listen on {} '{}': {}", what, path, why), fix);
  };
  struct stat status = {};
  UniqueFd lock;
  // Whoever held it before may have removed it while we waited to open it: then it is not the lock any more.
  do {
    lock = UniqueFd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
    if (!lock && errno == ENOENT) refuse("its directory does not exist", "make the directory, or choose another path");
    if (!lock) refuse(errno_text(errno), "choose a path where you may create files");
    ::fstat(lock.get(), &status);
    if (!S_ISREG(status.st_mode) || status.st_size > 0) {
      refuse(fmt::format("'{}' is in the way, and no lock", file), "choose another path");
    }
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) < 0) return std::nullopt;
  } while (!same_file(status, file));
  return PathLock(file, std::move(lock));
}

PathLock PathLock::take(std::string_view what, const std::string& path) {
  for (unsigned tries = 0; tries < kTries; ++tries) {
    if (auto lock = try_take(what, path)) return std::move(*lock);
    std::this_thread::sleep_for(kPause);
  }
  throw Error(fmt::format("cannot listen on {} '{}': another program listens there, or is about to", what, path),
              "choose another path");
}

PathLock::~PathLock() {
  if (lock_) ::unlink(file_.c_str());
}

}  // namespace vmm
