// Signals that were ignored or blocked before the program began.
#include "vmm/core/signals.h"

#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <functional>

using namespace vmm;

namespace {

// What a child process makes of its signals: its exit status.
int status_of_child(const std::function<int()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = -1;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// The number of the next signal, or 0.
int next_signal(const UniqueFd& fd) {
  signalfd_siginfo info{};
  return ::read(fd.get(), &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
}

}  // namespace

TEST_CASE("signals: one that was ignored at the start stays ignored, as under nohup", "[signals]") {
  CHECK(status_of_child([] {
          ::signal(SIGHUP, SIG_IGN);
          ::signal(SIGTERM, SIG_DFL);
          const UniqueFd fd = open_signals({SIGHUP, SIGTERM});
          ::raise(SIGHUP);
          ::raise(SIGTERM);
          return next_signal(fd) == SIGTERM && next_signal(fd) == 0 ? 7 : 1;
        }) == 7);
}

TEST_CASE("signals: one that was blocked at the start is heard", "[signals]") {
  CHECK(status_of_child([] {
          sigset_t all;
          ::sigfillset(&all);
          ::sigprocmask(SIG_SETMASK, &all, nullptr);
          ::signal(SIGTERM, SIG_DFL);
          const UniqueFd fd = open_signals({SIGTERM});
          ::raise(SIGTERM);
          return next_signal(fd) == SIGTERM ? 7 : 1;
        }) == 7);
}

TEST_CASE("signals: children are reaped although the parent ignored SIGCHLD", "[signals]") {
  CHECK(status_of_child([] {
          ::signal(SIGCHLD, SIG_IGN);
          reset_inherited_signals();
          return status_of_child([] { return 5; }) == 5 ? 7 : 1;
        }) == 7);
}

TEST_CASE("signals: a real-time signal interrupts although the parent blocked it", "[signals]") {
  CHECK(status_of_child([] {
          sigset_t all;
          ::sigfillset(&all);
          ::sigprocmask(SIG_SETMASK, &all, nullptr);
          reset_inherited_signals();
          ::signal(SIGRTMIN, [](int) { ::_exit(7); });
          ::raise(SIGRTMIN);
          return 1;
        }) == 7);
}
