// Where log lines go; see log.h.
#include "vmm/core/log.h"

#include <poll.h>
#include <unistd.h>

#include <atomic>

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
  std::string text(line.starts_with(' ') ? "" : "vmm: ");
  text += line;
  if (const uint64_t dropped = lines_dropped.exchange(0); dropped > 0) {
    text += fmt::format(" ({} log lines were lost before this one)", dropped);
  }
  text += raw_terminal && log_fd == STDERR_FILENO ? "\r\n" : "\n";
  // A pipe that polls writable takes PIPE_BUF bytes without blocking.
  pollfd writable{log_fd, POLLOUT, 0};
  text.resize(std::min<size_t>(text.size(), 4096));
  if (::poll(&writable, 1, 0) != 1 || ::write(log_fd, text.data(), text.size()) < 0) ++lines_dropped;
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
