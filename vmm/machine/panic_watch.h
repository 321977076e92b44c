// PanicWatch: finds a Linux kernel panic in what the guest prints on its consoles.
//
// The line "Kernel panic - not syncing: REASON" begins one, "---[ end Kernel panic - not syncing: REASON ]---" ends it.
// A kernel that has panicked prints these last words and then nothing more, so the verdict falls when the console has
// been silent for a moment after them. A user who merely prints an old log goes on to print other things (a prompt at
// least), which takes the suspicion back.
//
// A crash kernel (kdump) takes over before the last words and prints a log of its own, whose time begins anew: then the
// panic has happened, and whatever comes after it is another kernel's.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace vmm {

class PanicWatch {
 public:
  // Silence after the last words, and silence when they never come to an end (a kernel that is about to reboot).
  static constexpr std::chrono::milliseconds kSilence{1000};
  static constexpr std::chrono::milliseconds kLongSilence{5000};
  // Silence that a crash kernel may need to unpack itself and find its console, on a slow host.
  static constexpr std::chrono::milliseconds kCrashKernelSilence{60'000};
  static constexpr size_t kTailLines = 20;

  // Sees each line of output, cleaned as tail() is.
  void set_on_line(std::function<void(std::string_view)> on_line) { on_line_ = std::move(on_line); }

  // The kernel was told to keep memory for a crash kernel.
  void expect_crash_kernel() { long_silence_ = kCrashKernelSilence; }

  // More console output, in order.
  void feed(std::span<const std::byte> output);

  // The reason of a panic that has been printed and not been taken back.
  const std::optional<std::string>& reason() const { return reason_; }
  // The reason of the first panic after which another kernel spoke.
  const std::optional<std::string>& survived() const { return survived_; }
  // How long the console must stay silent from now on for the panic to be believed.
  std::chrono::milliseconds silence_needed() const { return ended_ ? kSilence : long_silence_; }
  // Somebody who knows better says that there was none.
  void take_back();
  // The last lines printed, for the report. Control characters are question marks here and in the reason: a guest must
  // not write escape sequences to the terminal that the report goes to.
  const std::deque<std::string>& tail() const { return tail_; }

 private:
  void line(const std::string& text);
  void suspect(std::string_view reason, std::optional<double> time);

  std::function<void(std::string_view)> on_line_;
  std::string partial_;
  std::deque<std::string> tail_;
  std::chrono::milliseconds long_silence_ = kLongSilence;
  std::optional<std::string> reason_;
  std::optional<double> time_;  // of the panic, on its kernel's clock; in seconds
  std::optional<std::string> survived_;
  std::optional<std::string> init_said_;  // why an init is about to give up
  bool ended_ = false;                    // the panic's last words are out
};

// The exit code of a panic with this reason: 100 and 101 are panics with a known cause.
int panic_exit_code(const std::string& reason);

}  // namespace vmm
