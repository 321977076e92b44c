// Taking the lock bytes; see image_lock.h.
#include "devices/backends/disk/image_lock.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <thread>
#include <vector>

#include "devices/backends/disk/lock_holder.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

namespace {

constexpr off_t kDoes = 100;     // QEMU: RAW_LOCK_PERM_BASE
constexpr off_t kForbids = 200;  // QEMU: RAW_LOCK_SHARED_BASE
constexpr off_t kReading = 0;
constexpr off_t kWriting = 1;
constexpr off_t kResizing = 3;

struct LockBytes {
  std::vector<off_t> own;       // locked by us
  std::vector<off_t> opposite;  // must not be locked by others
};

LockBytes lock_bytes(ImageLock::Access access) {
  LockBytes bytes{{kDoes + kReading, kForbids + kWriting, kForbids + kResizing},
                  {kForbids + kReading, kDoes + kWriting, kDoes + kResizing}};
  if (access == ImageLock::Access::kWrite) {
    bytes.own.push_back(kDoes + kWriting);
    bytes.opposite.push_back(kForbids + kWriting);
  }
  return bytes;
}

// 0 or an errno value. F_OFD_GETLK answers in `lock`.
int lock_call(int fd, int command, struct flock& lock) {
  int result = 0;
  do {
    result = ::fcntl(fd, command, &lock);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? errno : 0;
}

struct flock one_byte(short type, off_t byte) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

bool locked_by_other(int fd, off_t byte) {
  struct flock lock = one_byte(F_WRLCK, byte);
  return lock_call(fd, F_OFD_GETLK, lock) == 0 && lock.l_type != F_UNLCK;
}

// 0, EBUSY when somebody else's use does not fit, or the error of a filesystem that has no locks.
int try_lock(int fd, const LockBytes& bytes) {
  for (const off_t byte : bytes.own) {
    struct flock lock = one_byte(F_RDLCK, byte);
    const int error = lock_call(fd, F_OFD_SETLK, lock);
    if (error != 0) return error == EAGAIN || error == EACCES ? EBUSY : error;
  }
  for (const off_t byte : bytes.opposite) {
    if (locked_by_other(fd, byte)) return EBUSY;
  }
  return 0;
}

void unlock(int fd) {
  struct flock lock = one_byte(F_UNLCK, 0);
  lock.l_len = 0;  // to the end
  lock_call(fd, F_OFD_SETLK, lock);
}

// Two that start at the same moment see each other's bytes and both step back. Uneven pauses let one of them win.
int lock_with_patience(int fd, const LockBytes& bytes) {
  constexpr int kTries = 4;
  int error = 0;
  for (int i = 1; i <= kTries; ++i) {
    error = try_lock(fd, bytes);
    if (error != EBUSY) return error;
    unlock(fd);
    if (i < kTries) std::this_thread::sleep_for(std::chrono::milliseconds(1 + ::getpid() % 7 * i));
  }
  return error;
}

UniqueFd open_same_file(const std::string& path, int fd) {
  UniqueFd own(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!own) throw Error(fmt::format("cannot open disk '{}': {}", path, errno_text(errno)));
  struct stat ours {};
  struct stat theirs {};
  if (::fstat(own.get(), &ours) != 0 || ::fstat(fd, &theirs) != 0 || ours.st_dev != theirs.st_dev ||
      ours.st_ino != theirs.st_ino) {
    throw Error(fmt::format("disk '{}' was replaced while it was being opened", path), "try again");
  }
  return own;
}

[[noreturn]] void throw_in_use(const std::string& path, int fd, ImageLock::Access access) {
  const bool written = locked_by_other(fd, kDoes + kWriting);
  const std::optional<LockHolder> holder = find_lock_holder(fd);
  if (holder && holder->pid == ::getpid()) {
    throw Error(fmt::format("{} is given twice to this machine", path), "add ,ro to both, or ,ephemeral to both");
  }
  const std::string who = holder ? fmt::format("pid {} ({})", holder->pid, holder->command) : "another process";
  // Who asks for no more than to read has done what it takes here.
  if (access == ImageLock::Access::kRead) {
    throw Error(fmt::format("{} is {} by {}: a copy of it would change under the guest", path,
                            written ? "written" : "kept from readers", who),
                "stop that one, or have it use ,ephemeral or ,ro as well; or copy the file");
  }
  std::string fix = "add ,ephemeral to boot a throw-away copy, or ,ro";
  // A copy of what is being written would change under the guest, so a writer has to step aside as well.
  if (written)
    fix += fmt::format(" (here and where {} has it, which writes to it)", holder ? "that process" : "the other");
  throw Error(fmt::format("{} is in use by {}", path, who), fix);
}

}  // namespace

ImageLock::ImageLock(const std::string& path, int fd, Access access) : fd_(open_same_file(path, fd)) {
  const int error = lock_with_patience(fd_.get(), lock_bytes(access));
  if (error == EBUSY) throw_in_use(path, fd_.get(), access);
  if (error != 0) {
    log_warn("{} cannot be locked: {}; nothing keeps a second machine from writing to it", path, errno_text(error));
  }
}

}  // namespace vmm
