// Dispositions, masks and signalfd(2); see signals.h for what is asked of them.
#include "vmm/core/signals.h"

#include <sys/signalfd.h>

#include <cerrno>
#include <csignal>

#include "vmm/core/error.h"

namespace vmm {

namespace {

bool is_ignored(int number) {
  struct sigaction now {};
  return ::sigaction(number, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

}  // namespace

void reset_inherited_signals() {
  ::signal(SIGCHLD, SIG_DFL);
  sigset_t needed;
  ::sigemptyset(&needed);
  ::sigaddset(&needed, SIGCHLD);
  for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) ::sigaddset(&needed, number);
  ::pthread_sigmask(SIG_UNBLOCK, &needed, nullptr);
}

UniqueFd open_signals(std::initializer_list<int> wanted) {
  sigset_t heard;
  ::sigemptyset(&heard);
  for (const int number : wanted) {
    // A blocked signal reaches a signalfd even where it is ignored.
    if (!is_ignored(number)) ::sigaddset(&heard, number);
  }
  ::pthread_sigmask(SIG_BLOCK, &heard, nullptr);
  UniqueFd fd(::signalfd(-1, &heard, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd) throw Error("cannot listen to signals: " + errno_text(errno));
  return fd;
}

}  // namespace vmm
