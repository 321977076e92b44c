// The helper's life; see passt.h.
#include "devices/backends/net/passt.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <string_view>
#include <utility>

#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kFirstPause{100};
constexpr std::chrono::milliseconds kLastPause{10'000};
constexpr std::chrono::seconds kSettled{10};  // one that lived that long is not failing at start
constexpr std::chrono::milliseconds kStartLimit{60'000};

constexpr int kItsSocket = 3;  // the helper's descriptor
// Bytes; the host gives what its net.core.wmem_max allows.
constexpr int kItsBuffer = 4 << 20;

std::vector<std::string> arguments_for(const std::string& program, const std::vector<PortForward>& forwards,
                                       bool offline) {
  std::vector<std::string> words{program,         "--quiet",   "--fd",       std::to_string(kItsSocket),
                                 "--address",     "10.0.2.15", "--netmask",  "24",
                                 "--gateway",     "10.0.2.2",  "--mac-addr", "52:55:0a:00:02:02",
                                 "--dns-forward", "10.0.2.3"};
  if (offline) words.insert(words.end(), {"--interface", "lo"});
  for (const PortForward& forward : forwards) {
    words.emplace_back("--tcp-ports");
    words.push_back(fmt::format("{}/{}:{}", forward.address, forward.host_port, forward.guest_port));
  }
  return words;
}

// A helper that is setting itself up. The process ends when it is ready, and leaves its child in the background.
struct Launch {
  UniqueFd ours;
  UniqueFd process;  // pidfd
  UniqueFd words;    // what it prints
  pid_t pid = -1;
};

// The environment of a program that we start is not ours: signals that we block or ignore are its own affair.
class SpawnAttributes {
 public:
  SpawnAttributes() {
    ::posix_spawnattr_init(&attributes_);
    sigset_t none, ignored;
    ::sigemptyset(&none);
    ::sigemptyset(&ignored);
    for (const int number : {SIGPIPE, SIGXFSZ}) ::sigaddset(&ignored, number);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &ignored);
    // A process group of its own: Ctrl-C at the terminal is not meant for it.
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes_); }
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

Launch launch(const std::string& program, std::vector<std::string> words) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
    throw Error(fmt::format("cannot start {}: {}", program, errno_text(errno)));
  }
  Launch started{.ours = UniqueFd(ends[0]), .words = UniqueFd(::memfd_create("passt", MFD_CLOEXEC))};
  const UniqueFd theirs(ends[1]);
  // It drops frames that find no room. A socket that it accepts it enlarges itself; one that it is given it does not.
  ::setsockopt(theirs.get(), SOL_SOCKET, SO_SNDBUF, &kItsBuffer, sizeof kItsBuffer);
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDWR, 0);
  ::posix_spawn_file_actions_adddup2(&files, started.words.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&files, started.words.get(), STDERR_FILENO);
  ::posix_spawn_file_actions_adddup2(&files, theirs.get(), kItsSocket);
  const int error =
      ::posix_spawnp(&started.pid, program.c_str(), &files, SpawnAttributes().get(), argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&files);
  if (error == ENOENT)
    throw Error(fmt::format("--net user needs {}, which is not installed", program), "sudo apt-get install passt");
  if (error != 0) throw Error(fmt::format("cannot start {}: {}", program, errno_text(error)));
  started.process = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, started.pid, 0)));
  ::fcntl(started.ours.get(), F_SETFL, O_NONBLOCK);
  return started;
}

// The last line that says something; it complains about a missing system log as well.
std::string last_words(const UniqueFd& words) {
  std::string text(16384, '\0');
  const ssize_t length = ::pread(words.get(), text.data(), text.size(), 0);
  text.resize(length > 0 ? static_cast<size_t>(length) : 0);
  std::string last;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    if (!line.empty() && line.find("to syslog") == line.npos && !line.starts_with("Don't run as root")) last = line;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return last;
}

// The verdict on a launch that has ended: empty when the helper is ready, else why it is not.
std::string verdict(const Launch& started) {
  int status = 0;
  while (::waitpid(started.pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  std::string said = last_words(started.words);
  if (!said.empty()) return said;
  return WIFSIGNALED(status) ? fmt::format("killed by signal {}", WTERMSIG(status))
                             : fmt::format("it ended with status {}", WEXITSTATUS(status));
}

bool wait_for_end(const Launch& started) {
  pollfd ended{started.process.get(), POLLIN, 0};
  const auto deadline = Clock::now() + kStartLimit;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    const int got = ::poll(&ended, 1, static_cast<int>(std::max<int64_t>(left, 0)));
    if (got > 0) return true;
    if (got == 0 || errno != EINTR) return false;
  }
}

void abandon(const Launch& started) {
  ::kill(started.pid, SIGKILL);
  while (::waitpid(started.pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

// By which errno a port of this host cannot be listened at; 0: it can.
int bind_error(const PortForward& forward) {
  sockaddr_in address{};
  sockaddr_in6 address6{};
  address.sin_family = AF_INET;
  address6.sin6_family = AF_INET6;
  address.sin_port = address6.sin6_port = htons(forward.host_port);
  const bool is_v6 = ::inet_pton(AF_INET6, forward.address.c_str(), &address6.sin6_addr) == 1;
  if (!is_v6) ::inet_pton(AF_INET, forward.address.c_str(), &address.sin_addr);
  const UniqueFd socket(::socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const auto* name = is_v6 ? reinterpret_cast<const sockaddr*>(&address6) : reinterpret_cast<const sockaddr*>(&address);
  return ::bind(socket.get(), name, is_v6 ? sizeof address6 : sizeof address) == 0 ? 0 : errno;
}

class Passt : public NetEndpoint {
 public:
  Passt(EventLoop& loop, std::vector<PortForward> forwards, std::string program)
      : loop_(loop), forwards_(std::move(forwards)), program_(std::move(program)), pause_(loop, [this] { begin(); }) {
    std::string why = start_and_wait();
    if (has_no_route(why)) why = start_and_wait();
    if (!why.empty()) throw refusal(why);
  }
  ~Passt() override {
    if (launch_) abandon(*launch_);
  }

  std::string describe() const override {
    std::string text = "user";
    for (const PortForward& forward : forwards_) {
      text += fmt::format(", {}:{} to {}", forward.address, forward.host_port, forward.guest_port);
    }
    return text;
  }

  void start(std::function<void(UniqueFd)> on_peer) override {
    on_peer_ = std::move(on_peer);
    on_peer_(std::exchange(ready_, UniqueFd()));
  }

  void peer_lost() override {
    if (Clock::now() - since_ > kSettled) wait_ = kFirstPause;
    again();
  }

 private:
  // It says only that it cannot bind, so that is tried once more.
  Error refusal(const std::string& why) const {
    for (const PortForward& forward : forwards_) {
      const int error = why.find("bind") == why.npos ? 0 : bind_error(forward);
      if (error == 0) continue;
      return Error(fmt::format("--net user: port {} of {} cannot be had: {}", forward.host_port, forward.address,
                               errno_text(error)),
                   fix_for_port(error, forward));
    }
    return Error(fmt::format("--net user: {} refuses: {}", program_, why), "run `passt -f` to see what it needs");
  }

  // passt wants an interface that leads somewhere. On a host without any, the guest can still talk to the host.
  bool has_no_route(const std::string& why) {
    if (offline_ || why.find("xternal interface") == why.npos) return false;
    log_warn("--net user: this host has no default route, so the guest reaches the host only");
    offline_ = true;
    return true;
  }

  Launch launch_helper() const { return launch(program_, arguments_for(program_, forwards_, offline_)); }

  // Empty, or why the helper does not get ready.
  std::string start_and_wait() {
    Launch started = launch_helper();
    if (!wait_for_end(started)) {
      abandon(started);
      return "it does not get ready";
    }
    ready_ = std::move(started.ours);
    since_ = Clock::now();
    return verdict(started);
  }

  void again() {
    pause_.start(wait_);
    wait_ = std::min(2 * wait_, kLastPause);
  }

  // Without waiting: the loop has other work.
  void begin() {
    try {
      launch_.emplace(launch_helper());
    } catch (const Error& error) {
      log_debug("{}", error.what());
      return again();
    }
    ended_.emplace(loop_, launch_->process.get(), FdWatch::Event::kReadable, [this] { end(); });
    ended_->arm();
  }

  void end() {
    const std::string why = verdict(*launch_);
    UniqueFd peer = std::move(launch_->ours);
    launch_.reset();
    ended_.reset();
    if (has_no_route(why)) return begin();
    if (!why.empty()) {
      log_warn("{} cannot be started again: {}", program_, why);
      return again();
    }
    log_info("{} was started again", program_);
    since_ = Clock::now();
    on_peer_(std::move(peer));
  }

  EventLoop& loop_;
  const std::vector<PortForward> forwards_;
  const std::string program_;
  std::function<void(UniqueFd)> on_peer_;
  UniqueFd ready_;  // connected, and not yet handed over
  std::optional<Launch> launch_;
  std::optional<FdWatch> ended_;
  Timer pause_;
  bool offline_ = false;
  std::chrono::milliseconds wait_ = kFirstPause;
  Clock::time_point since_;
};

}  // namespace

std::string fix_for_port(int error, const PortForward& forward) {
  if (error == EACCES) {
    return fmt::format("fwd={}:{}, or sudo sysctl net.ipv4.ip_unprivileged_port_start={}",
                       forward.host_port < 1024 ? forward.host_port + 8000 : 2222, forward.guest_port,
                       forward.host_port);
  }
  if (error == EADDRNOTAVAIL) return "an address of this host, as `ip address` lists them, or 0.0.0.0 for all";
  return "another program has the port: choose another one for fwd=";
}

std::unique_ptr<NetEndpoint> start_passt(EventLoop& loop, const std::vector<PortForward>& forwards,
                                         const std::string& program) {
  return std::make_unique<Passt>(loop, forwards, program);
}

}  // namespace vmm
