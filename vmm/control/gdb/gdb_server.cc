// The socket of gdb: accepting, reading, sending without waiting, and losing it; see gdb_server.h.
#include "vmm/control/gdb/gdb_server.h"

#include <fmt/core.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "devices/backends/unix_listener.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

namespace {

constexpr int kBacklog = 4;
constexpr std::chrono::seconds kRetry{1};

UniqueFd listen_tcp(const GdbAddress& address) {
  const auto refuse = [&](const std::string& why) {
    throw Error(fmt::format("cannot listen for gdb on '{}' port {}: {}", address.host, address.port, why),
                "choose an address of this host and a free port above 1023, such as tcp::1234");
  };
  addrinfo hints = {};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found);
  if (error != 0) refuse(::gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
  UniqueFd listener(::socket(addresses->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int yes = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (!listener || ::bind(listener.get(), addresses->ai_addr, addresses->ai_addrlen) < 0 ||
      ::listen(listener.get(), kBacklog) < 0) {
    refuse(errno_text(errno));
  }
  return listener;
}

// Packets go at once, and a gdb whose host has vanished is noticed within half a minute. A Unix socket ignores it.
void set_up_tcp(int socket) {
  constexpr int kOn = 1, kIdle = 10, kInterval = 5, kProbes = 3;  // seconds, and a count
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &kOn, sizeof kOn);
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &kOn, sizeof kOn);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &kIdle, sizeof kIdle);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &kInterval, sizeof kInterval);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &kProbes, sizeof kProbes);
}

std::optional<PathLock> claim(const GdbAddress& address) {
  if (address.path.empty()) return std::nullopt;
  return claim_control_path(address.path);
}

UniqueFd listen_at(const GdbAddress& address, const std::optional<PathLock>& claim) {
  return claim ? listen_unix("gdb socket", address.path, kBacklog, *claim) : listen_tcp(address);
}

}  // namespace

GdbServer::GdbServer(EventLoop& loop, const GdbAddress& address, GdbTarget& target)
    : loop_(loop),
      address_(address),
      claim_(claim(address)),
      listener_(listen_at(address, claim_)),
      incoming_(loop, listener_.get(), FdWatch::Event::kReadable, [this] { accept(); }),
      retry_(loop, [this] { incoming_.arm(); }),
      stub_(std::make_unique<GdbStub>(target, [this](std::string_view payload) {
        last_packet_ = gdb_packet(payload);
        send(last_packet_);
      })) {
  incoming_.arm();
}

GdbServer::~GdbServer() {
  if (!address_.path.empty()) ::unlink(address_.path.c_str());
}

void GdbServer::accept() {
  UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) return retry_.start(kRetry);
  incoming_.arm();
  if (!socket) return;
  if (client_ && !stub_->attached()) lose();  // it has said nothing, or has detached
  if (client_) {
    // In words that gdb shows, whatever it asked first.
    const std::string refusal = "+" + gdb_packet("E.busy.another gdb is attached to this machine");
    ::send(socket.get(), refusal.data(), refusal.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    log_warn("a second gdb was sent away: one is attached");
    return;
  }
  set_up_tcp(socket.get());
  client_ = std::move(socket);
  reader_ = {};
  output_.clear();
  last_packet_.clear();
  readable_.emplace(loop_, client_.get(), FdWatch::Event::kReadable, [this] { receive(); });
  writable_.emplace(loop_, client_.get(), FdWatch::Event::kWritable, [this] { send_some(); });
  readable_->arm();
}

void GdbServer::receive() {
  std::array<char, 16384> bytes;
  const ssize_t length = ::recv(client_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return readable_->arm();
  if (length <= 0) return lose();
  for (const GdbInput& input : reader_.feed({bytes.data(), static_cast<size_t>(length)})) {
    obey(input);
    if (!client_) return;
  }
  readable_->arm();
}

void GdbServer::obey(const GdbInput& input) {
  const bool acknowledges = stub_->acknowledges();
  switch (input.kind) {
    case GdbInput::Kind::kPacket:
      if (acknowledges) send("+");
      return stub_->packet(input.payload);
    case GdbInput::Kind::kBroken:
      return send(acknowledges ? "-" : gdb_packet("E01"));
    case GdbInput::Kind::kInterrupt:
      return stub_->interrupt();
    case GdbInput::Kind::kAskedAgain:
      if (acknowledges) send(last_packet_);
      return;
    case GdbInput::Kind::kAcknowledged:
      return;
  }
}

void GdbServer::send(std::string_view bytes) {
  if (!client_) return;
  output_ += bytes;
  send_some();
}

// Whoever does not take what it asked for is gone; a person is told, as breakpoints go with it.
void GdbServer::send_some() {
  while (!output_.empty()) {
    const ssize_t length = ::send(client_.get(), output_.data(), output_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) break;
    output_.erase(0, static_cast<size_t>(length));
  }
  if (output_.size() > kMaxOutput) {
    ::shutdown(client_.get(), SHUT_RDWR);  // receive() sees it
    output_.clear();
  }
  if (!output_.empty()) writable_->arm();
}

void GdbServer::lose() {
  readable_.reset();
  writable_.reset();
  client_ = UniqueFd();
  stub_->detach();
}

void GdbServer::end(int exit_code) {
  if (!client_ || !stub_->attached()) return;
  send(gdb_packet(fmt::format("W{:02x}", exit_code & 0xff)));
}

}  // namespace vmm
