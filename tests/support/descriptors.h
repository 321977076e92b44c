// Descriptors for tests: a pipe, a socket pair, what can be read from one now or from a file, a limit on their number.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <iterator>
#include <string>

#include "vmm/core/fd.h"

namespace vmm::test {

// All ends are non-blocking.
struct Pipe {
  Pipe() {
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) == 0) {
      read = UniqueFd(ends[0]);
      write = UniqueFd(ends[1]);
    }
  }
  UniqueFd read;
  UniqueFd write;
};

struct SocketPair {
  SocketPair() {
    std::array<int, 2> ends{-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0) {
      ours = UniqueFd(ends[0]);
      theirs = UniqueFd(ends[1]);
    }
  }
  UniqueFd ours;
  UniqueFd theirs;
};

inline std::string read_available(const UniqueFd& fd, size_t limit = std::string::npos) {
  std::string text;
  std::array<char, 4096> part;
  ssize_t length = 0;
  while (text.size() < limit && (length = ::read(fd.get(), part.data(), part.size())) > 0) {
    text.append(part.data(), static_cast<size_t>(length));
  }
  return text;
}

inline std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Writes until the other side takes no more; returns how much that was.
inline size_t fill(const UniqueFd& fd, size_t limit = std::string::npos) {
  const std::string part(4096, 'x');
  size_t total = 0;
  ssize_t length = 0;
  while (total < limit && (length = ::write(fd.get(), part.data(), part.size())) > 0)
    total += static_cast<size_t>(length);
  return total;
}

// While it lives no further descriptor can be opened, but for `spare` ones.
class NoDescriptorsLeft {
 public:
  explicit NoDescriptorsLeft(rlim_t spare = 0) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const int next = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    ::close(next);
    const rlimit none{static_cast<rlim_t>(next) + spare, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  NoDescriptorsLeft(const NoDescriptorsLeft&) = delete;
  NoDescriptorsLeft& operator=(const NoDescriptorsLeft&) = delete;
  ~NoDescriptorsLeft() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace vmm::test
