// How a running session is steered: by keys, by signals and over the control socket. See session.h.
#include <fmt/core.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>

#include "vmm/control/cli/banner.h"
#include "vmm/control/session/session.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

Controls::Status Session::status() const {
  const char* state = outcome_ ? "ending" : machine_->ended() ? "ended" : machine_->paused() ? "paused" : "running";
  return {.name = config_.name,
          .state = state,
          .kernel = config_.kernel,
          .cpus = config_.cpus,
          .memory = config_.memory,
          .seconds = elapsed().count(),
          .exits = counts().exits};
}

void Session::require_alive() const {
  if (outcome_) throw Error("the machine is ending");
  if (machine_->ended()) throw Error("the guest has ended and cannot go on", "reset it, or kill it");
}

void Session::pause() {
  require_alive();
  if (machine_->paused()) return;
  machine_->pause();
  announce("paused");
}

void Session::resume() {
  require_alive();
  if (dump_) throw Error("its vmcore is being written", "wait for that");
  if (!machine_->paused()) return;
  if (debugger_->holds_machine()) throw Error("gdb has the machine stopped", "continue, or detach, in gdb");
  machine_->resume();
  announce("resumed");
}

void Session::reset() {
  if (outcome_) throw Error("the machine is ending");
  log_info("reset");
  stop_watching();  // a panic ends a run, but not one that somebody decides to begin anew
  restart(Outcome::Kind::kQuit);
}

// What the guest makes of it is its affair: it may well go on.
void Session::press_power_button() {
  require_alive();
  machine_->press_power_button();
}

void Session::send_nmi() {
  require_alive();
  if (!machine_->send_nmi()) throw Error("this machine's CPUs have no NMI", "vmm sysrq KEY NAME");
}

void Session::send_sysrq(char key) {
  require_alive();
  if (!machine_->send_sysrq(key)) throw Error("the machine has no serial line", "start it with --serial");
}

void Session::quit() { finish({Outcome::Kind::kQuit, exit_code::kQuit, "quit"}); }

void Session::announce(std::string_view event) const {
  if (on_event_) on_event_(event);
}

// ---- gdb

void Session::hold_limits(bool held) {
  for (TimeLimit* limit : {&timeout_, &boot_timeout_, &idle_timeout_}) held ? limit->hold() : limit->go();
}

// A panic that gdb was shown ends the run now.
void Session::gdb_left() {
  if (const WatchedConsole* console = panicked_console()) on_panic(*console);
}

// ---- keys and signals

void Session::obey(EscapeKeys::Command command) {
  switch (command) {
    case EscapeKeys::Command::kHelp:
      log_info("keys:");
      print_lines(keys_.help());
      return;
    case EscapeKeys::Command::kQuit:
    case EscapeKeys::Command::kLeave:
      return quit();
    case EscapeKeys::Command::kBreak:
      if (backends_.stdio() == nullptr || !machine_->send_break(*backends_.stdio())) {
        log_info("this console is no serial line: it has no BREAK");
      }
      return;
    case EscapeKeys::Command::kTimestamps:
      if (backends_.stdio() != nullptr) backends_.stdio()->set_timestamps(!backends_.stdio()->timestamps());
      return;
    case EscapeKeys::Command::kWhy: {
      const Findings findings = look_inside();
      log_info("{}", findings.kernel.empty() ? "no kernel that is understood" : findings.kernel);
      return log_text(findings.stacks());
    }
    case EscapeKeys::Command::kLog: {
      const Findings findings = look_inside();
      log_info("{}: {} lines of log", findings.kernel.empty() ? "no kernel that is understood" : findings.kernel,
               findings.log.size());
      return log_text(findings.log.empty() ? findings.stacks() : findings.log_tail(findings.log.size()));
    }
    case EscapeKeys::Command::kDump:
      return dump_for_person();
    case EscapeKeys::Command::kPause:
      if (outcome_) return;
      if (machine_->ended()) {
        log_info("the guest has ended and cannot go on; {0} r resets it, {0} x quits", keys_.name());
        return;
      }
      if (debugger_->holds_machine()) return log_info("gdb has the machine stopped: continue there");
      if (dump_) return log_info("it goes on when its vmcore is written");
      machine_->paused() ? resume() : pause();
      log_info("{}", machine_->paused() ? fmt::format("paused; {} p goes on", keys_.name()) : "running");
      return;
    case EscapeKeys::Command::kReset:
      if (!outcome_) reset();
      return;
    case EscapeKeys::Command::kNmi:
      if (!machine_->send_nmi()) log_info("this machine's CPUs have no NMI");
      return;
    case EscapeKeys::Command::kGdb:
      if (!outcome_ && !machine_->ended()) debugger_->stop_and_wait();
      return;
  }
}

void Session::on_signal() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    switch (static_cast<int>(info.ssi_signo)) {
      case SIGWINCH:
        tell_window_size();
        break;
      case SIGCONT:
        terminal_.enter_raw_mode();
        break;
      case SIGUSR1:
        machine_->refresh_disks();
        break;
      case SIGINT:
      case SIGQUIT:
        quit();
        break;
      default:
        finish({Outcome::Kind::kTerminated, exit_code::kTerminated,
                "ended by " + signal_name(static_cast<int>(info.ssi_signo))});
    }
  }
  signal_watch_.arm();
}

}  // namespace vmm
