// Connecting or listening; see net_socket.h.
#include "devices/backends/net_socket.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

namespace {

constexpr std::chrono::milliseconds kFirstRetry{50};
constexpr std::chrono::milliseconds kLastRetry{2000};

[[noreturn]] void refuse(const std::string& path, const std::string& why, const std::string& fix = {}) {
  throw Error(fmt::format("cannot use network socket '{}': {}", path, why), fix);
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    refuse(path, "the path is too long", "use a shorter one, below /run or /tmp");
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// Nobody's file is taken for one.
void remove_dead_socket(const std::string& path) {
  struct stat status = {};
  if (::lstat(path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode)) refuse(path, "it exists and is no socket");
  ::unlink(path.c_str());
}

class SocketEndpoint : public NetEndpoint {
 public:
  SocketEndpoint(EventLoop& loop, const std::string& path)
      : loop_(loop), path_(path), address_(address_of(path)), retry_(loop, [this] { try_again(); }) {
    meet();
  }
  ~SocketEndpoint() override {
    if (listener_) ::unlink(path_.c_str());
  }

  std::string describe() const override { return fmt::format("socket {}", path_); }

  void start(std::function<void(UniqueFd)> on_peer) override {
    on_peer_ = std::move(on_peer);
    proceed();
  }

  void peer_lost() override {
    wait_ = kFirstRetry;
    listener_ ? incoming_->arm() : retry_.start(wait_);
  }

 private:
  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&address_); }

  // Leaves a connected peer_ or a listener_.
  void meet() {
    constexpr int kTries = 100;  // each lost to another one who came first and has gone again
    for (int tries = 0; !connect_or_listen(); ++tries) {
      if (tries == kTries) refuse(path_, errno_text(EADDRINUSE));
    }
  }

  // False when somebody else began to listen in between.
  bool connect_or_listen() {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) refuse(path_, errno_text(errno));
    if (::connect(socket.get(), address(), sizeof address_) == 0) {
      peer_ = std::move(socket);
      return true;
    }
    if (errno == ECONNREFUSED) {  // left behind by a program that died, or no socket at all
      remove_dead_socket(path_);
    } else if (errno != ENOENT) {
      refuse(path_, errno_text(errno));
    }
    // A socket that is bound but does not listen yet refuses connections like a dead one, so it gets its name last.
    const std::string temporary = fmt::format("{}.{}", path_, ::getpid());
    const sockaddr_un place = address_of(temporary);
    remove_dead_socket(temporary);
    ::fchmod(socket.get(), 0600);  // becomes the mode of the file that bind() creates
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&place), sizeof place) < 0 ||
        ::listen(socket.get(), 1) < 0) {
      refuse(path_, errno_text(errno));
    }
    const int error = ::link(temporary.c_str(), path_.c_str()) < 0 ? errno : 0;
    ::unlink(temporary.c_str());
    if (error == EEXIST) return false;
    if (error != 0) refuse(path_, errno_text(error));
    listener_ = std::move(socket);
    incoming_.emplace(loop_, listener_.get(), FdWatch::Event::kReadable, [this] { accept(); });
    return true;
  }

  void proceed() {
    if (peer_) return on_peer_(std::exchange(peer_, UniqueFd()));
    incoming_->arm();
  }

  void try_again() {
    if (listener_) return incoming_->arm();
    try {
      meet();
      proceed();
    } catch (const Error& error) {
      log_debug("{}", error.what());
      wait_ = std::min(2 * wait_, kLastRetry);
      retry_.start(wait_);
    }
  }

  void accept() {
    UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (peer) {
      on_peer_(std::move(peer));
    } else if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) {
      incoming_->arm();  // the client has gone again
    } else {
      retry_.start(kLastRetry);  // EMFILE or the like: the client still waits, arming now would spin
    }
  }

  EventLoop& loop_;
  const std::string path_;
  const sockaddr_un address_;
  UniqueFd peer_;  // connected, and not yet handed over
  UniqueFd listener_;
  std::optional<FdWatch> incoming_;
  std::function<void(UniqueFd)> on_peer_;
  Timer retry_;
  std::chrono::milliseconds wait_ = kFirstRetry;
};

}  // namespace

std::unique_ptr<NetEndpoint> open_net_socket(EventLoop& loop, const std::string& path) {
  return std::make_unique<SocketEndpoint>(loop, path);
}

}  // namespace vmm
