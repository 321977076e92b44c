// See unix_listener.h.
#include "devices/backends/unix_listener.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "vmm/core/error.h"

namespace vmm {

namespace {

UniqueFd open_socket() { return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)); }

// False when whoever listened at this address is gone. Somebody who refuses us (EACCES) or is busy (EAGAIN) is there.
bool in_use(const sockaddr* address, socklen_t length) {
  const UniqueFd probe = open_socket();
  return !probe || ::connect(probe.get(), address, length) == 0 || errno != ECONNREFUSED;
}

}  // namespace

UniqueFd listen_unix(std::string_view what, const std::string& path, int backlog) {
  const auto refuse = [&](const std::string& why, const std::string& fix = {}) {
    throw Error(fmt::format("cannot listen on {} '{}': {}", what, path, why), fix);
  };
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) refuse("the path is too long", "use a shorter one, below /run or /tmp");
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);

  UniqueFd listener = open_socket();
  if (!listener) refuse(errno_text(errno));
  ::fchmod(listener.get(), 0600);  // becomes the mode of the file that bind() creates
  int bound = ::bind(listener.get(), generic, sizeof address);
  if (bound < 0 && errno == EADDRINUSE) {
    struct stat status = {};
    if (::lstat(path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode)) refuse("it exists and is no socket");
    if (in_use(generic, sizeof address)) refuse("another program listens there", "choose another path");
    ::unlink(path.c_str());  // left behind by a program that died
    bound = ::bind(listener.get(), generic, sizeof address);
  }
  const int error = bound < 0 || ::listen(listener.get(), backlog) < 0 ? errno : 0;
  if (error == ENOENT) refuse("its directory does not exist", "make the directory, or choose another path");
  if (error != 0) refuse(errno_text(error), "choose a path where you may create files");
  return listener;
}

}  // namespace vmm
