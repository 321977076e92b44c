// The connection: found by name, asked, and waited for; see control_link.h.
#include "vmm/control/socket/control_link.h"

#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "vmm/control/socket/control_address.h"

namespace vmm {

namespace {

using Json = nlohmann::json;

// A machine answers between two turns of its loop; one that does not is stopped, or hangs.
constexpr time_t kPatience = 10;

}  // namespace

std::optional<ControlLink> ControlLink::to(const std::string& name) {
  const std::string path = control_path(name);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw Error(fmt::format("'{}' is too long for a socket", path));
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval patience{.tv_sec = kPatience, .tv_usec = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return ControlLink(std::move(socket));
  }
  if (errno == ECONNREFUSED || errno == ENOENT) return std::nullopt;
  throw Error(fmt::format("cannot connect to '{}': {}", path, errno_text(errno)));
}

// Memory takes its time on its way to a disk.
void ControlLink::wait_as_long_as_it_takes() const {
  const timeval for_ever{};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &for_ever, sizeof for_ever);
}

// What comes back for a line, up to its newline, and nothing of what may follow.
std::string ControlLink::line_back(const std::string& line) const {
  const auto unanswered = [] {
    return Error(
        fmt::format("the machine does not answer: {}", errno == EAGAIN ? "it is stopped, or hangs" : errno_text(errno)),
        "look at its process: fg, or kill -CONT PID");
  };
  if (::send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
    throw unanswered();
  }
  std::string answer;
  std::array<char, 65536> bytes;
  while (!answer.ends_with('\n')) {
    ssize_t length = ::recv(socket_.get(), bytes.data(), bytes.size(), MSG_PEEK);
    if (length > 0) {
      const size_t end = std::string_view(bytes.data(), static_cast<size_t>(length)).find('\n');
      length =
          ::recv(socket_.get(), bytes.data(), end == std::string_view::npos ? static_cast<size_t>(length) : end + 1, 0);
    }
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) throw unanswered();
    if (length == 0) throw Error("the machine ended before it answered");
    answer.append(bytes.data(), static_cast<size_t>(length));
  }
  return answer;
}

Json ControlLink::ask(const Json& request) const { return understood_answer(line_back(request.dump() + "\n")); }

Json understood_answer(const std::string& line) {
  Json answer = Json::parse(line, nullptr, false);
  if (!answer.is_object() || !answer.value("ok", false)) {
    throw Error(answer.is_object() ? answer.value("error", "no") : "the machine's answer is not understood",
                answer.is_object() ? answer.value("fix", "") : "");
  }
  return answer;
}

Error not_running(const std::string& name, const std::string& besides) {
  return Error(fmt::format("no machine '{}' is running{}", name, besides),
               "vmm list tells which are; one is found if it was started with --name");
}

}  // namespace vmm
