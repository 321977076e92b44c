// Connecting or listening; see net_socket.h.
#include "devices/backends/net/net_socket.h"

#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>
#include <thread>
#include <utility>

#include "devices/backends/disk/path_lock.h"
#include "devices/backends/unix_listener.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

namespace {

constexpr std::string_view kWhat = "network socket";
constexpr std::chrono::milliseconds kFirstRetry{50};
constexpr std::chrono::milliseconds kLastRetry{2000};
// At start, while another one is about to listen.
constexpr std::chrono::milliseconds kPause{10};
constexpr unsigned kTries = 200;

[[noreturn]] void refuse(const std::string& path, const std::string& why, const std::string& fix = {}) {
  throw Error(fmt::format("cannot use {} '{}': {}", kWhat, path, why), fix);
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    refuse(path, "the path is too long", "use a shorter one, below /run or /tmp");
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
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
  // Leaves a connected peer_ or a listener_.
  void meet() {
    for (unsigned tries = 0; !connect_or_listen(); ++tries) {
      if (tries == kTries) refuse(path_, "another program has been about to listen there for seconds");
      std::this_thread::sleep_for(kPause);
    }
  }

  // False while somebody else is about to listen.
  bool connect_or_listen() {
    if (connected()) return true;
    const auto lock = PathLock::try_take(kWhat, path_);
    if (!lock) return false;
    if (connected()) return true;  // who had the lock before us listens
    listener_ = listen_unix(kWhat, path_, 1, *lock);
    incoming_.emplace(loop_, listener_.get(), FdWatch::Event::kReadable, [this] { accept(); });
    return true;
  }

  bool connected() {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) refuse(path_, errno_text(errno));
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address_), sizeof address_) == 0) {
      peer_ = std::move(socket);
      return true;
    }
    // Left behind by a program that died, or about to be listened at, or no socket at all; or nothing.
    if (errno != ECONNREFUSED && errno != ENOENT) refuse(path_, errno_text(errno));
    return false;
  }

  void proceed() {
    if (peer_) return on_peer_(std::exchange(peer_, UniqueFd()));
    incoming_->arm();
  }

  void try_again() {
    if (listener_) return incoming_->arm();
    try {
      if (connect_or_listen()) return proceed();
    } catch (const Error& error) {
      log_debug("{}", error.what());
    }
    wait_ = std::min(2 * wait_, kLastRetry);
    retry_.start(wait_);
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
