// One end of a Unix socket in a test's hands: what connects to a backend, or listens for it.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "vmm/core/fd.h"

namespace vmm::test {

inline sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// One end of a stream. Nothing here waits.
class HostEnd {
 public:
  HostEnd() = default;
  explicit HostEnd(UniqueFd socket) : socket_(std::move(socket)) {}
  // Connects.
  explicit HostEnd(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    const sockaddr_un address = unix_address(path);
    if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) socket_ = UniqueFd();
  }

  bool connected() const { return static_cast<bool>(socket_); }
  size_t send(std::string_view text) const {
    const ssize_t sent = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 ? 0 : static_cast<size_t>(sent);
  }
  // What is there now.
  std::string receive() {
    std::string text;
    char part[4096];
    for (;;) {
      const ssize_t length = ::recv(socket_.get(), part, sizeof part, MSG_DONTWAIT);
      if (length > 0) {
        text.append(part, static_cast<size_t>(length));
        continue;
      }
      ended_ = length == 0 || errno != EAGAIN;
      return text;
    }
  }
  // Whether the other side has ended the stream, and all has been read.
  bool ended() {
    unread_ += receive();
    return ended_;
  }
  void end_output() const { ::shutdown(socket_.get(), SHUT_WR); }
  void close() { socket_ = UniqueFd(); }

 private:
  UniqueFd socket_;
  std::string unread_;
  bool ended_ = false;
};

class HostListener {
 public:
  explicit HostListener(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    const sockaddr_un address = unix_address(path);
    ::unlink(path.c_str());
    (void)!::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    ::listen(socket_.get(), 8);
  }
  // The next one who has connected; not connected() when there is none.
  HostEnd accept() const { return HostEnd(UniqueFd(::accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK))); }

 private:
  UniqueFd socket_;
};

struct StreamPair {
  StreamPair() {
    int ends[2] = {};
    (void)!::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends);
    ours = UniqueFd(ends[0]);
    host = HostEnd(UniqueFd(ends[1]));
  }
  UniqueFd ours;
  HostEnd host;
};

}  // namespace vmm::test
