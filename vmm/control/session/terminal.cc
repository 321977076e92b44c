// termios and the handlers that undo it; see terminal.h.
#include "vmm/control/session/terminal.h"

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>

#include "vmm/core/log.h"

namespace vmm {

namespace {

// What a signal handler needs, hence not in the object.
termios original_mode;
std::atomic<bool> mode_changed{false};

// In the background the terminal is somebody else's, who has set it as they like.
bool in_foreground() { return ::tcgetpgrp(STDIN_FILENO) == ::getpgrp(); }

void restore_mode() {
  if (mode_changed.exchange(false) && in_foreground()) ::tcsetattr(STDIN_FILENO, TCSANOW, &original_mode);
}

// Installed with SA_RESETHAND: the signal that is raised again ends the process as it would have.
void on_fatal_signal(int number) {
  restore_mode();
  ::raise(number);
}

// Restores the terminal's mode at every signal that would end the process; those that somebody ignores or handles stay
// as they are.
void restore_mode_on_death() {
  constexpr std::array kContinuing{SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH, SIGKILL};
  struct sigaction action {};
  action.sa_handler = on_fatal_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
  for (int number = 1; number <= SIGRTMAX; ++number) {
    struct sigaction before {};
    if (std::ranges::find(kContinuing, number) != kContinuing.end()) continue;
    if (::sigaction(number, nullptr, &before) < 0 || before.sa_handler != SIG_DFL) continue;
    ::sigaction(number, &action, nullptr);
  }
}

}  // namespace

Terminal::Terminal(bool wanted) {
  if (!wanted || ::isatty(STDIN_FILENO) == 0 || !in_foreground()) return;
  if (::tcgetattr(STDIN_FILENO, &original_mode) < 0) return;
  restore_mode_on_death();
  raw_ = true;
  enter_raw_mode();
}

Terminal::~Terminal() { restore(); }

void Terminal::restore() {
  restore_mode();
  set_log_raw_terminal(false);
}

void Terminal::enter_raw_mode() {
  if (!raw_ || !in_foreground()) return;
  termios mode = original_mode;
  ::cfmakeraw(&mode);
  mode_changed = true;
  ::tcsetattr(STDIN_FILENO, TCSANOW, &mode);
  set_log_raw_terminal(true);
}

std::optional<Terminal::Size> Terminal::size() {
  winsize size{};
  for (const int fd : {STDOUT_FILENO, STDIN_FILENO}) {
    if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return Size{size.ws_col, size.ws_row};
  }
  return std::nullopt;
}

}  // namespace vmm
