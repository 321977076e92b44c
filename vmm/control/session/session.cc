// Boot, listen, end; see session.h.
#include "vmm/control/session/session.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <tuple>
#include <utility>

#include "vmm/control/cli/banner.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"
#include "vmm/core/signals.h"

namespace vmm {

namespace {

// A disk whose server hangs must not keep the process for ever.
constexpr std::chrono::seconds kStopLimit{10};
constexpr std::chrono::milliseconds kDrainLimit{1000};

}  // namespace

Session::Session(EventLoop& loop, const CommandLine& line, Backends& backends, EscapeKeys keys)
    : loop_(loop),
      line_(line),
      config_(line.machine),
      backends_(backends),
      keys_(keys),
      judge_(line.fail_on, line.allow_files),
      signals_(open_signals({SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGWINCH, SIGCONT, SIGUSR1})),
      // A command whose output goes elsewhere is no affair of the terminal's: it stays as it is, Ctrl-C included.
      terminal_(backends.stdio() != nullptr || (backends.command && ::isatty(STDOUT_FILENO) != 0)),
      signal_watch_(loop, signals_.get(), FdWatch::Event::kReadable, [this] { on_signal(); }),
      deadline_(loop, [this] { give_up_stopping(); }),
      timeout_(loop,
               [this] {
                 finish({Outcome::Kind::kTimeout, exit_code::kTimeout, "timed out"});
               }),
      boot_timeout_(loop,
                    [this] {
                      finish({Outcome::Kind::kTimeout, exit_code::kTimeout, "the command was not started: timed out"});
                    }),
      idle_timeout_(loop,
                    [this] {
                      finish({Outcome::Kind::kTimeout, exit_code::kTimeout, "no output any more: timed out"});
                    }),
      hang_look_(loop, [this] { look_for_hang(); }),
      started_(Clock::now()),
      hangs_(config_.hang_timeout),
      debugger_(Debugger::make(
          loop, line.debug, config_, *this,
          {.on_stop = [this](bool stopped) { hold_limits(stopped); }, .on_leave = [this] { gdb_left(); }})),
      balloon_patience_(loop, [this] { tell_balloon(); }),
      hints_patience_(loop, [this] { take_hints(); }) {
  for (CharStream* stream : backends_.streams()) visitors_.emplace_back(loop_, *stream);
  signal_watch_.arm();
  if (backends_.stdio() != nullptr && terminal_.raw()) backends_.stdio()->set_filter(key_filter());
  if (backends_.command) begin_command();
}

Outcome Session::run() {
  // With a command, what is on the terminal is the command's.
  if (!backends_.command || log_enabled(LogLevel::kDebug)) {
    print_banner(config_, backends_, terminal_.raw() ? keys_.name() : std::string());
  }
  if (config_.timeout.count() > 0) timeout_.start(config_.timeout);
  do {
    boot();
    loop_.run();
    deadline_.cancel();
    for (CharStream* stream : backends_.streams()) stream->flush(kDrainLimit);
    drain_command();
    tap_.finish();
    // The console's last words are known only now; a kernel that panics and reboots by itself has still panicked.
    evidence_ = gather_evidence();
    outcome_ = verdict_of(evidence_);
  } while (std::exchange(restarting_, false) && outcome_->kind != Outcome::Kind::kPanic);
  lasted_ = elapsed();
  dump_the_dead();
  announce("ended: " + verdict_name(*outcome_));
  debugger_->end(line_.report.exit_code(*outcome_));
  report(*outcome_);
  if (!vmcore_.empty()) print_lines("  core: " + how_to_open(vmcore_));
  return *outcome_;
}

void Session::boot() {
  earlier_ = counts();
  machine_.reset();
  outcome_.reset();
  panic_shown_ = false;
  judge_.forget();
  tap_.reset();
  boot_started_ = Clock::now();
  if (config_.trace) begin_trace();
  watch_consoles();
  if (backends_.command) backends_.command->restart();
  machine_ =
      std::make_unique<Machine>(loop_, config_, backends_, [this](const Outcome& outcome) { guest_ended(outcome); });
  tell_window_size();
  connect_split_gdb();
  if (balloon_size_) machine_->balloon()->set_target(*balloon_size_);
  machine_->start();
  if (debugger_->begin(*machine_)) machine_->resume();
  if (config_.boot_timeout.count() > 0) boot_timeout_.start(config_.boot_timeout);
  hangs_.forget();
  if (config_.hang_timeout.count() > 0) hang_look_.start(hangs_.interval());
  note_output();
}

void Session::note_output() {
  if (config_.idle_timeout.count() > 0) idle_timeout_.start(config_.idle_timeout);
}

// ---- the person at the terminal

void Session::tell_window_size() {
  const auto size = Terminal::size();
  if (!size) return;
  machine_->set_window_size(size->columns, size->rows);
  if (backends_.command) backends_.command->set_window_size(size->columns, size->rows);
}

CharStream::Filter Session::key_filter() {
  return [this](std::span<const std::byte> typed, const CharStream::Receiver& to_guest) {
    keys_.feed(typed, {.to_guest = to_guest,
                       .command = [this](EscapeKeys::Command command) { obey(command); },
                       .unknown =
                           [this](char letter) {
                             log_info("{} {} means nothing; {} h lists the keys", keys_.name(),
                                      letter >= ' ' && letter <= '~' ? letter : '?', keys_.name());
                           }});
  };
}

void Session::begin_command() {
  backends_.command->begin(
      terminal_.raw(), terminal_.raw() ? key_filter() : nullptr,
      {.on_started =
           [this] {
             boot_timeout_.cancel();
             if (traced_) traced_->command_start = Clock::now();
           },
       .on_output = [this](bool is_error, std::span<const std::byte> bytes) { command_wrote(is_error, bytes); },
       .on_result = [this](const GuestCommand::Result& result) { command_ended(result); }});
}

// ---- the end

void Session::command_wrote(bool is_error, std::span<const std::byte> bytes) {
  note_output();
  if (!is_error && line_.reads_tap()) tap_.feed({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

void Session::command_ended(const GuestCommand::Result& result) {
  using How = GuestCommand::Result::How;
  Outcome outcome{Outcome::Kind::kCommand, result.value, fmt::format("the command ended with status {}", result.value)};
  switch (result.how) {
    case How::kExited:
      if (result.value <= exit_code::kLastOfGuest) break;
      outcome.exit_code = exit_code::kLastOfGuest;
      outcome.what += fmt::format(", which is reported as {}", exit_code::kLastOfGuest);
      break;
    case How::kSignalled:
      outcome.exit_code = exit_code::kLastOfGuest;
      outcome.what = fmt::format("the command was killed by {}", signal_name(result.value));
      break;
    case How::kNotStarted:
      outcome.exit_code = result.value == exit_code::kNotFound ? exit_code::kNotFound : exit_code::kNotExecutable;
      outcome.what = result.why;
  }
  finish(outcome);
}

void Session::guest_ended(const Outcome& outcome) {
  if (outcome.kind == Outcome::Kind::kPoweroff && backends_.command) {
    return finish({Outcome::Kind::kNoVerdict, exit_code::kNoVerdict,
                   "guest powered off without a verdict: the command never said how it ended"});
  }
  if (outcome.kind != Outcome::Kind::kReset) return finish(outcome);
  switch (config_.on_reset) {
    case OnReset::kExit:
      return finish(outcome);
    case OnReset::kReboot:
      log_info("{}; rebooting", outcome.what);
      return restart(Outcome::Kind::kReset);
    case OnReset::kPause:
      log_info("{}; paused, as --on-reset pause says", outcome.what);
      return;
  }
}

void Session::on_panic(const WatchedConsole& console) {
  const auto& reason = console.watch.reason();
  if (!reason || outcome_ || memory_knows_of_no_panic()) return;
  if (debugger_->take_panic(*reason) || wait_with_panic(*reason)) return;
  finish({Outcome::Kind::kPanic, panic_exit_code(*reason), {}});
}

// The kernel that runs has a log, and no panic at its end: it was another one's, which a program printed, or a crash
// kernel is at work that says little.
bool Session::memory_knows_of_no_panic() {
  const Findings findings = look_inside();
  if (findings.log.empty() || findings.panic) return false;
  for (WatchedConsole& console : consoles_) {
    if (findings.crash_kernel && console.watch.reason()) crash_kernel_took_over(console, *console.watch.reason());
    console.watch.take_back();
  }
  return true;
}

// Once in a boot: who lets it go on has seen it, and its end is an end. No limit but --timeout ends the wait.
bool Session::wait_with_panic(const std::string& reason) {
  if (!line_.pause_on_panic || machine_->ended() || std::exchange(panic_shown_, true)) return false;
  idle_timeout_.cancel();
  pause();
  log_info("kernel panic: {}", reason);
  const std::string name = line_.control_path.empty() ? config_.name : line_.control_path;
  const std::string keys = terminal_.raw() ? fmt::format("; {} h", keys_.name()) : std::string();
  log_info("paused, as --on-panic pause says{}{}", name.empty() ? "" : ": vmm why|dump|resume|kill " + name, keys);
  return true;
}

void Session::look_for_hang() {
  if (outcome_ || machine_->ended()) return;
  if (machine_->paused() || debugger_->attached()) {
    hangs_.forget();
  } else if (!hangs_.all_take_interrupts(machine_->interrupts_taken())) {
    if (const auto stuck = hangs_.look(machine_->sample_vcpus(), Clock::now())) {
      const double seconds = std::chrono::duration<double>(config_.hang_timeout).count();
      return finish({Outcome::Kind::kHung, exit_code::kHung, fmt::format("no progress for {:g} s: {}", seconds, *stuck),
                     hangs_.activity()});
    }
  }
  hang_look_.start(hangs_.interval());
}

// The first reason counts, but for a restart under way, which any reason overrules.
void Session::finish(const Outcome& outcome) {
  if (draining_) return give_up_draining(outcome);
  if (dump_ && outcome_ && outcome.is_order()) dump_->give_up();
  if (outcome_ && !restarting_) return;
  restarting_ = false;
  const bool stopping = std::exchange(outcome_, outcome).has_value();
  if (!stopping) stop_machine();
}

// Nothing that the command wrote is lost to a slow reader. Who decided to end the run waits for none.
void Session::drain_command() {
  if (!backends_.command || backends_.command->drained()) return;
  Timer limit(loop_, [this] { loop_.stop(); });
  if (outcome_->is_decision()) limit.start(kDrainLimit);
  draining_ = true;
  backends_.command->when_drained([this] { loop_.stop(); });
  loop_.run();
  draining_ = false;
}

// A command whose output nobody took is no success.
void Session::give_up_draining(const Outcome& decision) {
  if (!decision.is_decision()) return;
  if (restarting_ || outcome_->kind == Outcome::Kind::kCommand) {
    restarting_ = false;
    outcome_ = decision;
    outcome_->details = "  not all of the command's output was read";
  }
  loop_.stop();
}

// `why`: kReset, which the guest asked for and a panic may explain, or kQuit, which a person decided.
void Session::restart(Outcome::Kind why) {
  if (outcome_) return;
  announce("reset");
  outcome_ = {why, exit_code::kReset, "reset"};
  restarting_ = true;
  stop_machine();
}

void Session::stop_machine() {
  if (traced_) traced_->stop = Clock::now();
  runs_after_dump_ = false;
  if (dump_) end_dump(Error("the machine ended before its vmcore was written"));
  deadline_.start(kStopLimit);
  machine_->stop([this](bool flushed) {
    flushed_ = flushed_ && flushed;
    loop_.stop();
  });
}

// The run ends as it would have, but for a guest that ended well, or was to begin anew.
void Session::give_up_stopping() {
  const std::vector<std::string> busy = machine_->busy_disks();
  stuck_ = fmt::format("{} does not answer for {} s",
                       busy.empty() ? "a device" : fmt::format("{}", fmt::join(busy, ", ")), kStopLimit.count());
  log_error("{}; giving up on it, what was not flushed may be lost", stuck_);
  flushed_ = false;
  if (std::exchange(restarting_, false))
    *outcome_ = {Outcome::Kind::kHostTrouble, exit_code::kHostTrouble, "no reset: " + stuck_};
  loop_.stop();
}

// Requests that the kernel does not answer cannot be taken back, so what they read and write stays, to the end of the
// process: the guest's memory, and the disks.
Session::~Session() {
  if (stuck_.empty()) return;
  std::ignore = machine_.release();
  backends_.leave_disks();
}

// ---- what memory tells

Findings Session::look_inside() {
  Findings findings;
  machine_->look_inside([&findings](const GuestMemory& memory, std::span<const CpuState> cpus) {
    findings = Findings::of(memory, cpus);
  });
  return findings;
}

}  // namespace vmm
