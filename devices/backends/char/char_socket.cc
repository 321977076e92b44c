// Consoles on a listening socket: one client at a time, the others wait in the backlog; see char_endpoint.h.
#include <fmt/core.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <utility>

#include "devices/backends/char/char_endpoint.h"
#include "devices/backends/unix_listener.h"
#include "vmm/core/error.h"
#include "vmm/core/fd.h"

namespace vmm {

namespace {

constexpr int kBacklog = 4;
constexpr int kSocketFlags = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

UniqueFd open_socket(int family) {
  UniqueFd socket(::socket(family, kSocketFlags, 0));
  if (!socket) throw Error("cannot open a console socket: " + errno_text(errno));
  return socket;
}

UniqueFd listen_tcp(const std::string& host, const std::string& port) {
  const auto refuse = [&](const std::string& why) {
    throw Error(fmt::format("cannot listen on console address '{}' port {}: {}", host, port, why),
                "choose an address of this host and a free port above 1023, such as tcp=127.0.0.1:4444");
  };
  addrinfo hints = {};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (error != 0) refuse(::gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);

  UniqueFd listener = open_socket(addresses->ai_family);
  const int yes = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (::bind(listener.get(), addresses->ai_addr, addresses->ai_addrlen) < 0 || ::listen(listener.get(), kBacklog) < 0) {
    refuse(errno_text(errno));
  }
  return listener;
}

// A client that vanished without a word must not keep the only place: its host is asked after kIdle seconds of silence,
// kProbes times, and output that nobody acknowledges ends the connection too. A Unix socket needs none of it and
// ignores it.
void expect_signs_of_life(int socket) {
  constexpr int kOn = 1, kIdle = 10, kInterval = 5, kProbes = 3;
  constexpr int kUnacknowledged = 1000 * (kIdle + kInterval * kProbes);  // milliseconds
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &kOn, sizeof kOn);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &kIdle, sizeof kIdle);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &kInterval, sizeof kInterval);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &kProbes, sizeof kProbes);
  ::setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUnacknowledged, sizeof kUnacknowledged);
}

class SocketEndpoint : public CharEndpoint {
 public:
  // Removes the socket's file, if it has a path, in the end.
  SocketEndpoint(EventLoop& loop, UniqueFd listener, std::string path)
      : path_(std::move(path)),
        listener_(std::move(listener)),
        incoming_(loop, listener_.get(), FdWatch::Event::kReadable, [this] { accept(); }),
        retry_(loop, [this] { incoming_.arm(); }) {}
  ~SocketEndpoint() override {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  void start(std::function<void(CharPeer)> on_peer) override {
    on_peer_ = std::move(on_peer);
    incoming_.arm();
  }

  void peer_lost() override {
    on_peer_({});
    client_ = UniqueFd();
    incoming_.arm();
  }

 private:
  void accept() {
    client_ = UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (client_) {
      expect_signs_of_life(client_.get());
      on_peer_({client_.get(), client_.get()});
    } else if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) {
      incoming_.arm();  // the client has gone again
    } else {
      retry_.start(std::chrono::seconds(1));  // EMFILE or the like: the client still waits, arming now would spin
    }
  }

  std::string path_;
  UniqueFd listener_;
  UniqueFd client_;
  std::function<void(CharPeer)> on_peer_;
  FdWatch incoming_;
  Timer retry_;
};

}  // namespace

std::unique_ptr<CharEndpoint> open_char_socket(EventLoop& loop, const CharConfig& config) {
  if (config.kind == CharConfig::Kind::kUnix) {
    return std::make_unique<SocketEndpoint>(loop, listen_unix("console socket", config.path, kBacklog), config.path);
  }
  return std::make_unique<SocketEndpoint>(loop, listen_tcp(config.host, config.port), std::string());
}

}  // namespace vmm
