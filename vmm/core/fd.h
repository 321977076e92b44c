// UniqueFd: an owned file descriptor. EventFd: an eventfd(2) that is signalled and drained. reopen_nonblocking(): the
// file behind somebody else's descriptor, without the chance to wait for it.
#pragma once

#include <utility>

namespace vmm {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd();

  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }  // the caller's from now on
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// A pipe, terminal or device opened again, under a description of its own, so that the flags that others see stay as
// they are. Empty for what cannot be opened anew: a socket, a terminal of another user; and a file must not be, as it
// has one position.
UniqueFd reopen_nonblocking(int fd, int access);

class EventFd {
 public:
  EventFd();  // non-blocking and close-on-exec; throws Error when the host has no descriptor left

  int fd() const { return fd_.get(); }
  void signal() const;
  // Resets the counter; true when it had been signalled.
  bool drain() const;

 private:
  UniqueFd fd_;
};

}  // namespace vmm
