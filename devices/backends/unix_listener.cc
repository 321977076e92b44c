// A listening socket: a dead one in its place is found by connecting to it; see unix_listener.h.
#include "devices/backends/unix_listener.h"

#include <fmt/core.h>
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

[[noreturn]] void refuse(std::string_view what, const std::string& path, const std::string& why,
                         const std::string& fix) {
  throw Error(fmt::format("cannot listen on {} '{}': {}", what, path, why), fix);
}

sockaddr_un address_of(std::string_view what, const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    refuse(what, path, "the path is too long", "use a shorter one, below /run or /tmp");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

}  // namespace

UniqueFd listen_unix(std::string_view what, const std::string& path, int backlog) {
  address_of(what, path);  // said before the lock, whose path is longer
  return listen_unix(what, path, backlog, PathLock::take(what, path));
}

UniqueFd listen_unix(std::string_view what, const std::string& path, int backlog, const PathLock&) {
  const sockaddr_un address = address_of(what, path);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);

  UniqueFd listener = open_socket();
  if (!listener) refuse(what, path, errno_text(errno), {});
  ::fchmod(listener.get(), 0600);  // becomes the mode of the file that bind() creates
  int bound = ::bind(listener.get(), generic, sizeof address);
  if (bound < 0 && errno == EADDRINUSE) {
    struct stat status = {};
    if (::lstat(path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode))
      refuse(what, path, "it exists and is no socket", {});
    if (in_use(generic, sizeof address)) {
      refuse(what, path, "another program listens there", "choose another path");
    }
    ::unlink(path.c_str());  // left behind by a program that died
    bound = ::bind(listener.get(), generic, sizeof address);
  }
  const int error = bound < 0 || ::listen(listener.get(), backlog) < 0 ? errno : 0;
  if (error != 0) refuse(what, path, errno_text(error), "choose a path where you may create files");
  return listener;
}

}  // namespace vmm
