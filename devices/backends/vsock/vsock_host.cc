// Listening, and reading the line of a client; see vsock_host.h.
#include "devices/backends/vsock/vsock_host.h"

#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

#include "devices/backends/unix_listener.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

namespace {

constexpr int kBacklog = 128;
constexpr std::string_view kVerb = "CONNECT ";
constexpr size_t kLongestLine = kVerb.size() + 10 + 1;  // a port has up to ten digits
constexpr size_t kLongestSuffix = 1 + 10;               // "_4294967295"

// Before anything is listening, so that no guest finds out.
const VsockConfig& require_short_path(const VsockConfig& config) {
  if (config.path.size() + kLongestSuffix >= sizeof sockaddr_un::sun_path) {
    throw Error(
        fmt::format("cannot listen on vsock socket '{}': the path is too long for a port behind it", config.path),
        "use a shorter one, below /run or /tmp");
  }
  return config;
}

// The port of "CONNECT PORT\n".
std::optional<uint32_t> parse_line(std::string_view line) {
  if (!line.starts_with(kVerb) || !line.ends_with('\n')) return std::nullopt;
  line.remove_prefix(kVerb.size());
  line.remove_suffix(1);
  uint32_t port = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), port);
  if (error != std::errc() || end != line.data() + line.size()) return std::nullopt;
  return port;
}

}  // namespace

VsockHost::VsockHost(EventLoop& loop, const VsockConfig& config, std::chrono::milliseconds patience)
    : loop_(loop),
      config_(require_short_path(config)),
      patience_(patience),
      listener_(listen_unix("vsock socket", config.path, kBacklog)),
      incoming_(loop, listener_.get(), FdWatch::Event::kReadable, [this] { accept(); }),
      retry_(loop, [this] { incoming_.arm(); }) {
  incoming_.arm();
}

VsockHost::~VsockHost() { ::unlink(config_.path.c_str()); }

std::string VsockHost::describe() const { return fmt::format("{} (cid {})", config_.path, config_.cid); }

std::unique_ptr<VsockStream> VsockHost::connect(uint32_t port) {
  const std::string path = fmt::format("{}_{}", config_.path, port);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  // A Unix socket connects at once, or not at all: a full backlog (EAGAIN) refuses like nobody there.
  if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    log_debug("vsock: nobody listens at {}: {}", path, errno_text(errno));
    return nullptr;
  }
  return std::make_unique<VsockStream>(loop_, std::move(socket));
}

void VsockHost::accept() {
  UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
    retry_.start(std::chrono::seconds(1));  // EMFILE or the like: the client still waits, arming now would spin
    return;
  }
  if (socket) {
    const auto client = clients_.emplace(clients_.end());
    client->socket = std::move(socket);
    client->readable.emplace(loop_, client->socket.get(), FdWatch::Event::kReadable,
                             [this, client] { read_line(client); });
    client->deadline.emplace(loop_, [this, client] { close(client); });
    client->readable->arm();
    client->deadline->start(patience_);
  }
  if (clients_.size() < kMaxClients) incoming_.arm();
}

// Takes no byte from behind the line: those are for the guest.
void VsockHost::read_line(Clients::iterator client) {
  std::array<char, kLongestLine> seen;
  const int socket = client->socket.get();
  const ssize_t length = ::recv(socket, seen.data(), kLongestLine - client->line.size(), MSG_PEEK | MSG_DONTWAIT);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return client->readable->arm();
  if (length <= 0) return close(client);
  const std::string_view text(seen.data(), static_cast<size_t>(length));
  const size_t end = text.find('\n');
  const std::string_view mine = text.substr(0, end == text.npos ? end : end + 1);
  if (::recv(socket, seen.data(), mine.size(), MSG_DONTWAIT) != static_cast<ssize_t>(mine.size())) return close(client);
  client->line += mine;
  if (end == text.npos && client->line.size() < kLongestLine) return client->readable->arm();
  const std::optional<uint32_t> port = parse_line(client->line);
  UniqueFd taken = std::move(client->socket);
  close(client);
  if (port && on_client_) on_client_(std::make_unique<VsockStream>(loop_, std::move(taken)), *port);
}

void VsockHost::close(Clients::iterator client) {
  clients_.erase(client);
  if (!retry_.running()) incoming_.arm();
}

}  // namespace vmm
