// Reading console text; see panic_watch.h. The words are those of kernel/panic.c.
#include "vmm/machine/panic_watch.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <string_view>
#include <system_error>

#include "vmm/machine/outcome.h"

namespace vmm {

namespace {

constexpr std::string_view kPanic = "Kernel panic - not syncing: ";
// Reasons of the kernel's for panics, which vmm's own init (firmware/guest/init.c) gives as well, before it ends.
constexpr auto kReasonsOfInit =
    std::to_array<std::string_view>({"VFS: Unable to mount root fs", "Requested init ", "No working init found"});
constexpr std::string_view kFirstWords = "Linux version ";  // of a kernel
constexpr std::string_view kLastWords = "---[ end Kernel panic";
constexpr std::string_view kLastWordsEnd = " ]---";
constexpr size_t kMaxLine = 1024;

// A kernel's line: an optional level "<0>", then optional blocks "[ time ]" and "[ caller ]", then the text.
struct KernelLine {
  explicit KernelLine(std::string_view line) : text(line) {
    if (text.starts_with('<')) text.remove_prefix(std::min(text.size(), text.find('>') + 1));
    while (text.starts_with('[')) {
      const size_t end = text.find(']');
      if (end == std::string_view::npos) break;
      if (!time) time = seconds(text.substr(1, end - 1));
      text.remove_prefix(end + 1);
      if (text.starts_with(' ')) text.remove_prefix(1);
    }
  }

  static std::optional<double> seconds(std::string_view block) {
    block.remove_prefix(std::min(block.size(), block.find_first_not_of(' ')));
    double value = 0;
    const auto [end, error] = std::from_chars(block.data(), block.data() + block.size(), value);
    if (error != std::errc() || end != block.data() + block.size() || !std::isfinite(value)) return std::nullopt;
    return value;
  }

  std::string_view text;
  std::optional<double> time;
};

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
  if (ended_ && !partial_.empty()) take_back();
}

void PanicWatch::line(const std::string& text) {
  if (on_line_) on_line_(text);
  tail_.push_back(text);
  if (tail_.size() > kTailLines) tail_.pop_front();

  const KernelLine kernel_line(text);
  const std::string_view words = kernel_line.text;
  // Lines of several CPUs are out of order by less.
  constexpr double kSecond = 1;
  const bool begins_anew =
      words.starts_with(kFirstWords) || (kernel_line.time && time_ && *kernel_line.time + kSecond < *time_);
  if (std::ranges::any_of(kReasonsOfInit, [words](auto reason) { return words.starts_with(reason); })) {
    init_said_ = std::string(words);
  }
  if (words.starts_with(kPanic)) {
    suspect(words.substr(kPanic.size()), kernel_line.time);
    ended_ = false;
  } else if (reason_ && !ended_ && begins_anew) {
    if (!survived_) survived_ = reason_;
    take_back();
  } else if (words.starts_with(kLastWords) && words.ends_with(kLastWordsEnd)) {
    // They give the reason again, which helps when a program's output has torn the first line.
    const size_t reason = words.find(kPanic);
    if (!reason_ && reason != std::string_view::npos) {
      suspect(words.substr(reason + kPanic.size(), words.size() - reason - kPanic.size() - kLastWordsEnd.size()),
              kernel_line.time);
    }
    ended_ = reason_.has_value();
  } else if (ended_) {
    take_back();
  }
}

void PanicWatch::take_back() {
  reason_.reset();
  time_.reset();
  init_said_.reset();
  ended_ = false;
}

void PanicWatch::suspect(std::string_view reason, std::optional<double> time) {
  reason_ = std::string(reason);
  time_ = time;
  if (init_said_ && panic_exit_code(*reason_) == exit_code::kInitDied) reason_ = init_said_;
}

int panic_exit_code(const std::string& reason) {
  if (reason.find("Unable to mount root fs") != std::string::npos) return exit_code::kNoRoot;
  if (reason.find("Attempted to kill init") != std::string::npos) return exit_code::kInitDied;
  return exit_code::kPanic;
}

}  // namespace vmm
