// Reading console text; see panic_watch.h. The words are those of kernel/panic.c.
#include "vmm/machine/panic_watch.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "vmm/machine/outcome.h"

namespace vmm {

namespace {

constexpr std::string_view kPanic = "Kernel panic - not syncing: ";
// The kernel's words, which vmm's own init (firmware/guest/init.c) uses as well, before it gives up and ends.
constexpr std::string_view kNoRoot = "VFS: Unable to mount root fs";
constexpr std::string_view kLastWords = "---[ end Kernel panic";
constexpr std::string_view kLastWordsEnd = " ]---";
constexpr size_t kMaxLine = 1024;

// A kernel's line: an optional level "<0>", then optional blocks "[ time ]" and "[ caller ]", then the text.
std::string_view kernel_text(std::string_view line) {
  if (line.starts_with('<')) line.remove_prefix(std::min(line.size(), line.find('>') + 1));
  while (line.starts_with('[')) {
    const size_t end = line.find(']');
    if (end == std::string_view::npos) break;
    line.remove_prefix(end + 1);
    if (line.starts_with(' ')) line.remove_prefix(1);
  }
  return line;
}

}  // namespace

void PanicWatch::feed(std::span<const std::byte> output) {
  for (const std::byte byte : output) {
    const char c = static_cast<char>(byte);
    if (c == '\n') {
      line(partial_);
      partial_.clear();
    } else if (c != '\r' && partial_.size() < kMaxLine) {
      partial_ += std::iscntrl(static_cast<unsigned char>(c)) != 0 && c != '\t' ? '?' : c;
    }
  }
  // Words after a panic's last ones, such as a prompt without a newline.
  if (ended_ && !partial_.empty()) reason_.reset();
}

void PanicWatch::line(const std::string& text) {
  if (on_line_) on_line_(text);
  tail_.push_back(text);
  if (tail_.size() > kTailLines) tail_.pop_front();

  const std::string_view words = kernel_text(text);
  if (words.starts_with(kNoRoot)) no_root_ = std::string(words);
  if (words.starts_with(kPanic)) {
    suspect(words.substr(kPanic.size()));
    ended_ = false;
  } else if (words.starts_with(kLastWords) && words.ends_with(kLastWordsEnd)) {
    // They give the reason again, which helps when a program's output has torn the first line.
    const size_t reason = words.find(kPanic);
    if (!reason_ && reason != std::string_view::npos) {
      suspect(words.substr(reason + kPanic.size(), words.size() - reason - kPanic.size() - kLastWordsEnd.size()));
    }
    ended_ = reason_.has_value();
  } else if (ended_) {
    reason_.reset();
    ended_ = false;
  }
}

void PanicWatch::suspect(std::string_view reason) {
  reason_ = std::string(reason);
  if (no_root_ && panic_exit_code(*reason_) == exit_code::kInitDied) reason_ = no_root_;
}

int panic_exit_code(const std::string& reason) {
  if (reason.find("Unable to mount root fs") != std::string::npos) return exit_code::kNoRoot;
  if (reason.find("Attempted to kill init") != std::string::npos) return exit_code::kInitDied;
  return exit_code::kPanic;
}

}  // namespace vmm
