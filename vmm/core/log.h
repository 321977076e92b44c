// Log lines: one line each, "vmm: what: why", on standard error or in the file of --log. Standard output belongs to the
// guest. Writing never blocks: a full pipe, a stopped terminal or a full disk drops the line and counts it. Lines that
// a guest can trigger go through guest_warn(), which a LogLimit bounds, so that a hostile guest cannot fill the host's
// disk.
#pragma once

#include <fmt/core.h>

#include <chrono>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace vmm {

enum class LogLevel { kError, kWarn, kInfo, kDebug };

// What is printed; kInfo by default. Thread safe.
void set_log_level(LogLevel level);
bool log_enabled(LogLevel level);
// Sends further lines to this descriptor instead of standard error (borrowed, for the rest of the process). Where it
// can be, it is opened anew, because a description shared with others must not be left non-blocking.
void set_log_fd(int fd);
// While a terminal is in raw mode a newline needs a carriage return.
void set_log_raw_terminal(bool raw);
// One line without its newline; "vmm: " is put in front unless it begins with a blank ("  fix: ...").
void log_line(LogLevel level, std::string_view line);

// Many lines that a person asked for. Unlike a log line it waits for a slow reader, though not for ever.
void log_text(std::string_view lines);

template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_warn(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kWarn, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::kDebug)) log_line(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
}

// A budget of a few lines per second, for one source of guest-triggered lines. Counts what it held back.
class LogLimit {
 public:
  // True when a line may be printed; `suppressed` then tells how many were held back since the last one.
  bool allow(uint64_t& suppressed);

 private:
  std::mutex mutex_;
  std::chrono::steady_clock::time_point window_{};
  unsigned lines_ = 0;
  uint64_t suppressed_ = 0;
};

template <typename... Args>
void guest_log(LogLevel level, LogLimit& limit, fmt::format_string<Args...> format, Args&&... args) {
  uint64_t suppressed = 0;
  if (!log_enabled(level) || !limit.allow(suppressed)) return;
  std::string line = fmt::format(format, std::forward<Args>(args)...);
  if (suppressed > 0) line += fmt::format(" ({} more like it held back)", suppressed);
  log_line(level, line);
}
template <typename... Args>
void guest_warn(LogLimit& limit, fmt::format_string<Args...> format, Args&&... args) {
  guest_log(LogLevel::kWarn, limit, format, std::forward<Args>(args)...);
}
template <typename... Args>
void guest_debug(LogLimit& limit, fmt::format_string<Args...> format, Args&&... args) {
  guest_log(LogLevel::kDebug, limit, format, std::forward<Args>(args)...);
}

}  // namespace vmm
