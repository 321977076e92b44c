// Where log lines go; see log.h.
#include "vmm/core/log.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>

namespace vmm {

namespace {

std::atomic<LogLevel> level_shown{LogLevel::kInfo};
std::atomic<int> log_fd{STDERR_FILENO};
std::atomic<bool> raw_terminal{false};
std::atomic<uint64_t> lines_dropped{0};

}  // namespace

void set_log_level(LogLevel level) { level_shown = level; }
bool log_enabled(LogLevel level) { return level <= level_shown; }
void set_log_fd(int fd) { log_fd = fd; }
void set_log_raw_terminal(bool raw) { raw_terminal = raw; }

void log_line(LogLevel level, std::string_view line) {
  if (!log_enabled(level)) return;
  const std::string_view end = raw_terminal && log_fd == STDERR_FILENO ? "\r\n" : "\n";
  const uint64_t dropped = lines_dropped.exchange(0);
  std::string text(line.starts_with(' ') ? "" : "vmm: ");
  text += line;
  if (dropped > 0) text += fmt::format(" ({} log lines were lost before this one)", dropped);
  // A pipe that polls writable takes PIPE_BUF bytes without blocking.
  text.resize(std::min<size_t>(text.size(), PIPE_BUF - end.size()));
  text += end;
  pollfd writable{log_fd, POLLOUT, 0};
  if (::poll(&writable, 1, 0) != 1 || ::write(log_fd, text.data(), text.size()) < 0) lines_dropped += dropped + 1;
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
