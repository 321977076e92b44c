// Owned descriptors; see fd.h.
#include "vmm/core/fd.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "vmm/core/error.h"

namespace vmm {

UniqueFd::~UniqueFd() {
  if (fd_ >= 0) ::close(fd_);
}

UniqueFd reopen_nonblocking(int fd, int access) {
  struct stat status {};
  if (::fstat(fd, &status) < 0 || S_ISREG(status.st_mode) || S_ISSOCK(status.st_mode)) return UniqueFd();
  return UniqueFd(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

EventFd::EventFd() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (!fd_) throw Error("cannot create an eventfd: " + errno_text(errno), "raise the limit of open files: ulimit -n");
}

void EventFd::signal() const {
  const uint64_t one = 1;
  // EAGAIN means that the counter is full: it is signalled already.
  while (::write(fd_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

bool EventFd::drain() const {
  uint64_t count = 0;
  ssize_t got = 0;
  do {
    got = ::read(fd_.get(), &count, sizeof count);
  } while (got < 0 && errno == EINTR);
  return got == sizeof count;
}

}  // namespace vmm
