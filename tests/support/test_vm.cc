// Starting vmm, and talking with it; see test_vm.h.
#include "tests/support/test_vm.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace vmm::test {

namespace {

struct Pipe {
  UniqueFd reader, writer;
};

Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) throw std::runtime_error("no pipe");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::string program_path() {
  const char* set = std::getenv("VMM");
  const std::string path = set != nullptr ? set : "build/vmm/vmm";
  if (::access(path.c_str(), X_OK) != 0) throw std::runtime_error("there is no " + path + " to run: set VMM");
  return path;
}

// In the child: only what is safe after fork().
[[noreturn]] void become(char* const* arguments, int program, const UniqueFd (&streams)[3],
                         const TestVm::Options& options) {
  ::setsid();
  if (options.terminal) ::ioctl(streams[0].get(), TIOCSCTTY, 0);
  for (int fd = 0; fd < 3; ++fd) ::dup2(streams[fd].get(), fd);
  if (options.no_streams) ::close_range(STDIN_FILENO, STDERR_FILENO, 0);
  const uid_t user = options.user;
  if (user != 0 && (::setgroups(0, nullptr) < 0 || ::setgid(user) < 0 || ::setuid(user) < 0)) ::_exit(127);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // after the change of user, which takes it back
  if (user == 0) ::execv(arguments[0], arguments);
  if (user != 0) ::execveat(program, "", arguments, environ, AT_EMPTY_PATH);  // the path may be root's alone
  ::_exit(127);
}

// The last lines, for an error's text.
std::string tail(const std::string& text) {
  constexpr size_t kShown = 1500;
  return text.size() > kShown ? "..." + text.substr(text.size() - kShown) : text;
}

std::string without_returns(std::string text) {
  std::erase(text, '\r');
  return text;
}

}  // namespace

TestVm::TestVm(const std::vector<std::string>& arguments, const Options& options) {
  std::vector<std::string> words;
  if (options.background) words = {"/bin/bash", "-c", "stty tostop; set -m; \"$@\" & wait $!", "bash"};
  words.push_back(program_path());
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  Pipe in = make_pipe(), out = make_pipe(), err = make_pipe();
  if (options.terminal) {
    int master = -1, slave = -1;
    winsize size{.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
    if (::openpty(&master, &slave, nullptr, nullptr, &size) < 0) throw std::runtime_error("no pty");
    in = {UniqueFd(::dup(slave)), UniqueFd(::dup(master))};
    out = {UniqueFd(master), UniqueFd(::dup(slave))};
    terminal_ = UniqueFd(slave);
    for (const int fd : {in.reader.get(), in.writer.get(), out.reader.get(), out.writer.get(), slave}) {
      ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
  }
  if (options.full_output) out.writer = UniqueFd(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  const UniqueFd program(::open(argv[0], O_PATH | O_CLOEXEC));
  const UniqueFd streams[3] = {std::move(in.reader), std::move(out.writer), std::move(err.writer)};
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("no process");
  if (pid_ == 0) become(argv.data(), program.get(), streams, options);
  process_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  input_ = std::move(in.writer);
  output_.fd = std::move(out.reader);
  messages_.fd = std::move(err.reader);
  for (const int fd : {output_.fd.get(), messages_.fd.get()}) ::fcntl(fd, F_SETFL, O_NONBLOCK);
}

TestVm::~TestVm() {
  if (ended()) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

bool TestVm::ended() {
  int status = 0;
  if (status_ >= 0) return true;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return false;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return true;
}

bool TestVm::read_stream(Stream& stream) {
  char chunk[16384];
  const ssize_t got = ::read(stream.fd.get(), chunk, sizeof chunk);
  if (got > 0) stream.text.append(chunk, static_cast<size_t>(got));
  return got > 0 || (got < 0 && errno == EAGAIN);
}

void TestVm::read_some(Clock::time_point deadline, bool reading) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  pollfd fds[] = {
      {reading ? output_.fd.get() : -1, POLLIN, 0}, {messages_.fd.get(), POLLIN, 0}, {process_.get(), POLLIN, 0}};
  if (::poll(fds, 3, left > 0 ? static_cast<int>(left) : 0) <= 0) return;
  // A stream whose other side is gone is looked at no more.
  if (fds[0].revents != 0 && !read_stream(output_)) output_.fd = UniqueFd();
  if (fds[1].revents != 0 && !read_stream(messages_)) messages_.fd = UniqueFd();
}

void TestVm::send(std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = ::write(input_.get(), text.data(), text.size());
    if (sent < 0 && errno != EINTR) throw std::runtime_error("vmm does not read its input any more");
    text.remove_prefix(sent < 0 ? 0 : static_cast<size_t>(sent));
  }
}

std::string TestVm::wait_in(Stream& stream, std::string_view text, std::chrono::seconds patience) {
  const auto deadline = Clock::now() + patience;
  for (bool over = false;;) {
    const size_t found = stream.text.find(text, stream.taken);
    if (found != std::string::npos) {
      const std::string before = stream.text.substr(stream.taken, found - stream.taken);
      stream.taken = found + text.size();
      return before;
    }
    if (over) break;
    over = Clock::now() >= deadline || ended();
    read_some(over ? Clock::now() : deadline);
    // What a process left in its pipes still counts.
    if (over) settle(std::chrono::milliseconds(0));
  }
  throw std::runtime_error("'" + std::string(text) + "' did not come" +
                           (status_ >= 0 ? ": vmm has ended with " + std::to_string(status_) : "") +
                           "\n-- output: " + tail(output_.text) + "\n-- messages: " + tail(messages_.text));
}

std::string TestVm::wait_for(std::string_view text, std::chrono::seconds patience) {
  return wait_in(output_, text, patience);
}

std::string TestVm::wait_for_message(std::string_view text, std::chrono::seconds patience) {
  return wait_in(messages_, text, patience);
}

std::string TestVm::run(const std::string& command, std::chrono::seconds patience) {
  // The quotes keep the marks out of the line that the shell echoes.
  send("echo st''art; " + command + "; echo en''d\n");
  wait_for("start\r\n", patience);
  std::string text = without_returns(wait_for("end\r\n", patience));
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

void TestVm::start_server(uint16_t port, const std::string& command) {
  start(command);
  char listening[64];
  std::snprintf(listening, sizeof listening, ":%04X [0-9A-F]*:0000 0A ", static_cast<unsigned>(port));
  run("until grep -qs '" + std::string(listening) + "' /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done");
}

void TestVm::settle(std::chrono::milliseconds silence) {
  const auto given_up = Clock::now() + kPatience;
  for (size_t before = 0; Clock::now() < given_up;) {
    before = output_.text.size() + messages_.text.size();
    const auto deadline = Clock::now() + silence;
    do read_some(deadline);
    while (Clock::now() < deadline && output_.text.size() + messages_.text.size() == before && !ended());
    if (output_.text.size() + messages_.text.size() == before) return;
  }
  throw std::runtime_error("it does not fall silent\n-- output: " + tail(output_.text) +
                           "\n-- messages: " + tail(messages_.text));
}

int TestVm::wait_exit(std::chrono::seconds patience, bool reading) {
  const auto deadline = Clock::now() + patience;
  while (!ended() && Clock::now() < deadline) read_some(deadline, reading);
  if (status_ < 0) {
    throw std::runtime_error("vmm has not ended\n-- output: " + tail(output_.text) +
                             "\n-- messages: " + tail(messages_.text));
  }
  settle(std::chrono::milliseconds(0));
  return status_;
}

void TestVm::resize(unsigned short rows, unsigned short columns) const {
  const winsize size{.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
  ::ioctl(input_.get(), TIOCSWINSZ, &size);
}

termios TestVm::terminal_modes() const {
  termios modes{};
  ::tcgetattr(terminal_.get(), &modes);
  return modes;
}

std::string image(const std::string& name, const std::string& file) {
  const char* folder = std::getenv(("VMM_IMAGES_" + name).c_str());
  if (folder == nullptr)
    throw std::runtime_error("VMM_IMAGES_" + name + " is not set: guest-images/get prints its value");
  return std::string(folder) + "/" + file;
}

}  // namespace vmm::test
