// StandardStream: one of our standard streams, non-blocking, leaving the flags that others see alone.
//
// Its open file description is shared with whoever started us, a shell perhaps, which would not expect it to become
// non-blocking. So it is opened anew where that is possible; where not, the flags are put back at the end.
#pragma once

#include <fcntl.h>
#include <fmt/core.h>

#include <cerrno>

#include "vmm/core/error.h"
#include "vmm/core/fd.h"

namespace vmm {

class StandardStream {
 public:
  // `access`: O_RDONLY or O_WRONLY. Throws Error when there is no such descriptor.
  StandardStream(int fd, int access) : fd_(reopen_nonblocking(fd, access)) {
    if (fd_) return;
    fd_ = UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (!fd_) throw Error(fmt::format("cannot open descriptor {}: {}", fd, errno_text(errno)));
    shared_flags_ = ::fcntl(fd, F_GETFL);
    ::fcntl(fd_.get(), F_SETFL, shared_flags_ | O_NONBLOCK);
  }
  StandardStream(const StandardStream&) = delete;
  StandardStream& operator=(const StandardStream&) = delete;
  ~StandardStream() {
    if (shared_flags_ >= 0) ::fcntl(fd_.get(), F_SETFL, shared_flags_);
  }

  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
  int shared_flags_ = -1;  // to be put back
};

}  // namespace vmm
