// Standard streams, files, pseudo-terminals and nothing; see char_endpoint.h.
#include "devices/backends/char/char_endpoint.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <pty.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "devices/backends/char/standard_stream.h"
#include "vmm/core/error.h"
#include "vmm/core/fd.h"
#include "vmm/core/log.h"

namespace vmm {

namespace {

[[noreturn]] void refuse(const std::string& what, int error) {
  throw Error(fmt::format("cannot open console {}: {}", what, errno_text(error)));
}

class StdioEndpoint : public CharEndpoint {
 public:
  void start(std::function<void(CharPeer)> on_peer) override { on_peer({input_.fd(), output_.fd()}); }

 private:
  StandardStream input_{STDIN_FILENO, O_RDONLY};
  StandardStream output_{STDOUT_FILENO, O_WRONLY};
};

class FileEndpoint : public CharEndpoint {
 public:
  explicit FileEndpoint(const std::string& path)
      : fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644)) {
    if (!fd_) refuse(fmt::format("file '{}'", path), errno);
  }
  void start(std::function<void(CharPeer)> on_peer) override { on_peer({-1, fd_.get()}); }

 private:
  UniqueFd fd_;
};

class PtyEndpoint : public CharEndpoint {
 public:
  PtyEndpoint() : ours_(::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)) {
    std::array<char, 64> path = {};
    if (!ours_ || ::grantpt(ours_.get()) < 0 || ::unlockpt(ours_.get()) < 0 ||
        ::ptsname_r(ours_.get(), path.data(), path.size()) != 0) {
      refuse("pty", errno);
    }
    // Holding the other side open keeps the pair alive while nobody else does.
    theirs_ = UniqueFd(::open(path.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    termios mode = {};
    if (!theirs_ || ::tcgetattr(theirs_.get(), &mode) < 0) refuse("pty", errno);
    ::cfmakeraw(&mode);  // or else it would echo the guest's output back as input
    ::tcsetattr(theirs_.get(), TCSANOW, &mode);
    log_info("console on {}", path.data());
  }
  void start(std::function<void(CharPeer)> on_peer) override { on_peer({ours_.get(), ours_.get()}); }

 private:
  UniqueFd ours_;
  UniqueFd theirs_;
};

class NullEndpoint : public CharEndpoint {
 public:
  void start(std::function<void(CharPeer)>) override {}
};

}  // namespace

std::unique_ptr<CharEndpoint> open_char_endpoint(EventLoop& loop, const CharConfig& config) {
  switch (config.kind) {
    case CharConfig::Kind::kStdio:
      return std::make_unique<StdioEndpoint>();
    case CharConfig::Kind::kFile:
      return std::make_unique<FileEndpoint>(config.path);
    case CharConfig::Kind::kPty:
      return std::make_unique<PtyEndpoint>();
    case CharConfig::Kind::kUnix:
    case CharConfig::Kind::kTcp:
      return open_char_socket(loop, config);
    case CharConfig::Kind::kNull:
      break;
  }
  return std::make_unique<NullEndpoint>();
}

}  // namespace vmm
