// The host's ends of networks in boot tests: commands, and one TCP connection at a time.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

#include "vmm/core/fd.h"

namespace vmm::test {

// A command of the host's shell, which must succeed; what it printed.
inline std::string host(const std::string& command) {
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "re");
  std::string text;
  std::array<char, 4096> part;
  for (size_t length = 0; (length = std::fread(part.data(), 1, part.size(), pipe)) > 0;)
    text.append(part.data(), length);
  if (::pclose(pipe) != 0) throw std::runtime_error("'" + command + "' failed: " + text);
  return text;
}

inline sockaddr_in ipv4(const std::string& address, uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &result.sin_addr);
  return result;
}

// Everything that comes until the peer closes, or has been silent for a minute.
inline std::string receive_all(const UniqueFd& socket) {
  std::string text;
  std::array<char, 65536> part;
  for (;;) {
    pollfd ready{socket.get(), POLLIN, 0};
    if (::poll(&ready, 1, 60'000) <= 0) return text;
    const ssize_t length = ::read(socket.get(), part.data(), part.size());
    if (length <= 0) return text;
    text.append(part.data(), static_cast<size_t>(length));
  }
}

class TcpServer {
 public:
  TcpServer(const std::string& address, uint16_t port) : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int yes = 1;
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    const sockaddr_in name = ipv4(address, port);
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) < 0 ||
        ::listen(listener_.get(), 4) < 0) {
      throw std::runtime_error("cannot listen on " + address);
    }
  }
  // The content of the next connection.
  std::string receive() const {
    pollfd ready{listener_.get(), POLLIN, 0};
    if (::poll(&ready, 1, 60'000) <= 0) return "no connection";
    return receive_all(UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
  }

 private:
  UniqueFd listener_;
};

// Connects, trying for a minute, sends `content`, and returns what comes back until the peer closes.
inline std::string talk(const std::string& address, uint16_t port, const std::string& content) {
  const sockaddr_in name = ipv4(address, port);
  for (int tries = 0; tries < 120; ++tries, std::this_thread::sleep_for(std::chrono::milliseconds(500))) {
    const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) < 0) continue;
    for (size_t sent = 0; sent < content.size();) {
      const ssize_t length = ::send(socket.get(), content.data() + sent, content.size() - sent, MSG_NOSIGNAL);
      if (length <= 0) break;
      sent += static_cast<size_t>(length);
    }
    ::shutdown(socket.get(), SHUT_WR);
    const std::string answer = receive_all(socket);
    if (!answer.empty()) return answer;  // else a helper took the connection before the guest could
  }
  return "no answer";
}

}  // namespace vmm::test
