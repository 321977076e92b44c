// The end of a session: its evidence is gathered, what happened is printed, and the result is written for programs; see
// session.h.
#include <algorithm>
#include <string>
#include <utility>

#include "vmm/control/cli/banner.h"
#include "vmm/control/session/session.h"
#include "vmm/control/trace/boot_phases.h"
#include "vmm/core/log.h"

namespace vmm {

// An explanation is read out of guest memory: not when a person decided to end the run, and after a good end only when
// --fail-on wants the kernel's log, or where a crash kernel may have had its say.
bool Session::needs_explanation() const {
  switch (outcome_->kind) {
    case Outcome::Kind::kCommand:
    case Outcome::Kind::kPoweroff:
      return judge_.wants_anything() || keeps_crash_kernel();
    case Outcome::Kind::kPanic:
    case Outcome::Kind::kNoVerdict:
    case Outcome::Kind::kReset:
    case Outcome::Kind::kTripleFault:
    case Outcome::Kind::kKvmError:
    case Outcome::Kind::kHung:
    case Outcome::Kind::kTimeout:
      return true;
    default:
      return false;
  }
}

// After the end, when everything has come to rest.
Evidence Session::gather_evidence() {
  Evidence evidence{.ending = *outcome_, .flushed = flushed_, .stuck = stuck_, .has_console = !consoles_.empty()};
  if (const WatchedConsole* console = panicked_console()) {
    evidence.console_panic = {*console->watch.reason(), console->panicked_at.count()};
  }
  for (const WatchedConsole& console : consoles_) {
    if (!evidence.survived_panic) evidence.survived_panic = console.survived;
  }
  evidence.init_on_console = std::ranges::any_of(consoles_, &WatchedConsole::told_of_init);
  if (backends_.command) {
    evidence.command_started = backends_.command->started();
    evidence.output_lost = backends_.command->output_lost();
  }
  if (needs_explanation()) {
    evidence.findings = look_inside();
    for (const std::string& line : evidence.findings->log) judge_.look_at(line);
  }
  evidence.offence = judge_.offence();
  if (line_.expect_tap && !tap_.good()) evidence.failed_tests = tap_.verdict();
  if (judge_.wants_ktap()) {
    ktap_ = find_ktap(evidence.findings);
    evidence.failed_ktap = ktap_.verdict();
  }
  if (config_.rootfs) {
    evidence.root = Evidence::Root::kDirectory;
  } else if (!backends_.disks.empty()) {
    evidence.root = machine_->disks_were_driven() ? Evidence::Root::kDrivenDisk : Evidence::Root::kIdleDisk;
  }
  return evidence;
}

Session::Counts Session::counts() const {
  Counts sums = earlier_;
  if (!machine_) return sums;
  sums.exits += machine_->exits();
  add_counts(sums.kvm, machine_->kvm_counts());
  return sums;
}

RunResult Session::result() const {
  RunResult result;
  result.verdict = verdict_name(*outcome_);
  result.reason = outcome_->what;
  result.exit_code = line_.report.exit_code(*outcome_);
  result.seconds = lasted_.count();
  Counts all = counts();
  result.exits = all.exits;
  for (KvmStats::Value& count : all.kvm) {
    if (count.name.ends_with("exits")) result.kvm_exits.push_back({std::move(count.name), count.value});
  }
  result.kernel = config_.kernel;
  result.release = backends_.kernel.release();
  result.reproduce = "vmm " + shell_line(line_.report.words);
  if (backends_.command) {
    using How = GuestCommand::Result::How;
    result.command = config_.command->words;
    const auto& ended = backends_.command->result();
    if (ended && ended->how == How::kSignalled) result.signal = ended->value;
    if (ended && ended->how != How::kSignalled) result.status = ended->value;
  }
  if (outcome_->status) result.status = outcome_->status;
  result.detectors = detectors(evidence_);
  result.disagreement = disagreement(evidence_, *outcome_);
  result.last_log = last_log();
  // Without --expect-tap the output need not be TAP.
  if (tap_.any()) result.cases = tap_.cases();
  if (line_.expect_tap) result.tap_problems = tap_.problems();
  result.cases.insert(result.cases.end(), ktap_.cases().begin(), ktap_.cases().end());
  result.tap_problems.insert(result.tap_problems.end(), ktap_.problems().begin(), ktap_.problems().end());
  result.vmcore = vmcore_;
  result.stuck = stuck_;
  result.phase = phase_of(evidence_);
  if (!config_.serial.empty()) {
    const CharConfig& console = config_.serial.front();
    result.console = console.kind == CharConfig::Kind::kFile ? console.path : console.log_path;
  }
  if (evidence_.findings) {
    result.kaslr = evidence_.findings->kaslr;
    for (const Findings::Cpu& cpu : evidence_.findings->cpus) {
      result.vcpus.push_back({cpu.id, cpu.doing, cpu.place, cpu.stack});
    }
  }
  return result;
}

// Whether the status is a command's, which has had its say.
bool Session::is_commands_own(const Outcome& outcome) const {
  if (outcome.kind != Outcome::Kind::kCommand) return false;
  const auto& ended = backends_.command->result();
  return ended->how == GuestCommand::Result::How::kExited && ended->value == outcome.exit_code;
}

void Session::report(const Outcome& outcome) const {
  using Kind = Outcome::Kind;
  // What was not on the terminal anyway. A panic makes even a quiet kernel talk.
  if (outcome.kind == Kind::kHung || outcome.kind == Kind::kTimeout ||
      (outcome.is_failure_of_guest() && backends_.stdio() == nullptr)) {
    for (const std::string& line : last_log()) print_lines("  | " + line);
  }
  if (!is_commands_own(outcome)) print_outcome(outcome, lasted_, counts().exits);
  if (const std::string words = disagreement(evidence_, outcome); !words.empty()) log_warn("{}", words);
  const auto& findings = evidence_.findings;
  // Where the vCPUs of a guest were that did what it was asked to explains nothing.
  if (!findings || (!outcome.is_death() && outcome.kind != Kind::kNoVerdict)) return;
  // Before Linux runs there is nothing of it to be found, and nothing to say about that.
  const bool expected = outcome.kind == Kind::kPanic || outcome.kind == Kind::kHung || outcome.kind == Kind::kTimeout;
  if (!expected && findings->kernel.empty()) return;
  if (!findings->kernel.empty()) print_lines("  " + findings->kernel);
  print_lines(findings->stacks());
}

}  // namespace vmm
