// Where log lines go; see log.h.
#include "vmm/core/log.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>

#include "vmm/core/fd.h"

namespace vmm {

namespace {

std::atomic<LogLevel> level_shown{LogLevel::kInfo};
std::atomic<bool> raw_terminal{false};

// One line at a time: of two writers a terminal refuses the second.
std::mutex mutex;
int log_fd = STDERR_FILENO;
int reopened_fd = -1;  // ours, if log_fd could be opened anew
bool torn = false;     // the last line was cut short
uint64_t lines_dropped = 0;

// Standard error gets what cannot go to a log that is elsewhere.
bool has_other_place() { return log_fd != STDERR_FILENO; }

// Never waits. What could not be opened as non-blocking takes a flag (a socket) or is asked first: when a pipe polls
// writable, PIPE_BUF bytes fit.
ssize_t put(int fd, std::string_view text) {
  const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent >= 0 || errno != ENOTSOCK) return sent;
  pollfd writable{fd, POLLOUT, 0};
  return ::poll(&writable, 1, 0) == 1 ? ::write(fd, text.data(), text.size()) : -1;
}

// What was not written in time.
std::string_view put_patiently(int fd, std::string_view rest, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!rest.empty()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd writable{fd, POLLOUT, 0};
    if (left.count() <= 0 || ::poll(&writable, 1, static_cast<int>(left.count())) != 1) break;
    const ssize_t written = ::write(fd, rest.data(), std::min<size_t>(rest.size(), PIPE_BUF));
    if (written < 0) break;
    rest.remove_prefix(static_cast<size_t>(written));
  }
  return rest;
}

}  // namespace

void set_log_level(LogLevel level) { level_shown = level; }
bool log_enabled(LogLevel level) { return level <= level_shown; }
void set_log_raw_terminal(bool raw) { raw_terminal = raw; }

void set_log_fd(int fd) {
  UniqueFd opened = reopen_nonblocking(fd, O_WRONLY);
  const std::lock_guard lock(mutex);
  log_fd = fd;
  const UniqueFd before(std::exchange(reopened_fd, opened.release()));
}

void log_line(LogLevel level, std::string_view line) {
  if (!log_enabled(level)) return;
  const std::lock_guard lock(mutex);
  const std::string_view end = raw_terminal && log_fd == STDERR_FILENO ? "\r\n" : "\n";
  std::string text(torn ? end : "");
  if (!line.starts_with(' ')) text += "vmm: ";
  text += line;
  if (lines_dropped > 0) text += fmt::format(" ({} log lines were lost before this one)", lines_dropped);
  text.resize(std::min<size_t>(text.size(), PIPE_BUF - end.size()));
  text += end;
  const ssize_t written = put(reopened_fd >= 0 ? reopened_fd : log_fd, text);
  if (written == std::ssize(text)) {
    torn = false;
    lines_dropped = 0;
  } else {
    torn = torn || written > 0;
    ++lines_dropped;
    if (has_other_place()) put(STDERR_FILENO, text);
  }
}

void log_text(std::string_view lines) {
  constexpr std::chrono::seconds kPatience{2};
  std::string text;
  for (const char c : lines) {
    if (c == '\n' && raw_terminal && log_fd == STDERR_FILENO) text += '\r';
    text += c;
  }
  const std::string_view rest = put_patiently(log_fd, text, kPatience);
  if (rest.empty()) return;
  ++lines_dropped;
  if (has_other_place()) put_patiently(STDERR_FILENO, rest, kPatience);
}

bool LogLimit::allow(uint64_t& suppressed) {
  constexpr unsigned kLinesPerWindow = 3;
  constexpr std::chrono::seconds kWindow{1};
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (now - window_ > kWindow) {
    window_ = now;
    lines_ = 0;
  }
  if (lines_ >= kLinesPerWindow) {
    ++suppressed_;
    return false;
  }
  ++lines_;
  suppressed = std::exchange(suppressed_, 0);
  return true;
}

}  // namespace vmm
