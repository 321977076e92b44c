// The weighing: each witness by itself, then all of them together; see verdict.h.
#include "vmm/control/verdict/verdict.h"

#include <fmt/core.h>

#include <string_view>

#include "vmm/core/error.h"
#include "vmm/core/new_file.h"
#include "vmm/machine/panic_watch.h"

namespace vmm {

namespace {

const char* advice_without_root(Evidence::Root root) {
  switch (root) {
    case Evidence::Root::kDirectory:
      return "  fix: if virtio-fs is not built into this kernel, name its modules with --modules DIR, or take one with "
             "CONFIG_VIRTIO_FS=y";
    case Evidence::Root::kIdleDisk:
      return "  no driver took the disk: this kernel has no built-in virtio_blk and virtio_pci\n"
             "  fix: name the folder of its modules with --modules, or pass an initrd with --initrd";
    case Evidence::Root::kNothing:
      return "  fix: pass a root disk with --disk, or an initramfs with --initrd";
    case Evidence::Root::kDrivenDisk:
      break;
  }
  return "";
}

bool ended_well(const Outcome& ending) {
  return ending.kind == Outcome::Kind::kCommand || ending.kind == Outcome::Kind::kPoweroff;
}

bool panic_in_memory(const Evidence& evidence) { return evidence.findings && evidence.findings->panic; }

// On a console, or only in the log in memory; it explains a reset, a triple fault or a silence that came after it. What
// was not looked into is somebody's decision to end the run, and stays that. Of a panic that the kernel's own log does
// not know a program printed the words.
std::optional<Evidence::Panic> panic_behind(const Evidence& evidence) {
  if (ended_well(evidence.ending) || !evidence.findings) return std::nullopt;
  const bool decided = evidence.ending.kind == Outcome::Kind::kPanic;
  if (!panic_in_memory(evidence) && !evidence.findings->log.empty() && !decided) return std::nullopt;
  if (evidence.console_panic) return evidence.console_panic;
  if (!panic_in_memory(evidence)) return std::nullopt;
  return Evidence::Panic{evidence.findings->panic->reason, evidence.findings->panic->seconds};
}

// Memory tells best: who prints the log of an old crash has started no kernel.
bool had_crash_kernel(const Evidence& evidence) {
  if (evidence.ending.is_order()) return false;
  const auto& findings = evidence.findings;
  if (findings && findings->crash_kernel) return true;
  return evidence.survived_panic && (!findings || findings->log.empty() || findings->panic);
}

// The panic from which a crash kernel took over. No console need have shown it.
Evidence::Panic survived_panic(const Evidence& evidence) {
  if (evidence.survived_panic) return *evidence.survived_panic;
  return evidence.console_panic.value_or(Evidence::Panic{"a crash kernel has run, no console showed why", 0});
}

// Whether the reason is that of kernel_init(), which has told before that it runs an init.
bool has_no_init(std::string_view reason) {
  return reason.starts_with("No working init found") || reason.starts_with("Requested init ");
}

Outcome outcome_of(const Evidence::Panic& panic, Evidence::Root root) {
  Outcome outcome{Outcome::Kind::kPanic, panic_exit_code(panic.reason),
                  fmt::format("kernel panic at {:.2f} s: {}", panic.seconds, panic.reason)};
  if (outcome.exit_code == exit_code::kNoRoot) outcome.details = advice_without_root(root);
  return outcome;
}

}  // namespace

Outcome verdict_of(const Evidence& evidence) {
  if (had_crash_kernel(evidence)) {
    Outcome outcome = outcome_of(survived_panic(evidence), evidence.root);
    outcome.details = fmt::format("  then its crash kernel: {}", verdict_name(evidence.ending));
    return outcome;
  }
  if (const auto panic = panic_behind(evidence)) return outcome_of(*panic, evidence.root);
  const Outcome& ending = evidence.ending;
  // It may well have failed by that, or passed without it.
  if (ending.kind == Outcome::Kind::kCommand && evidence.output_lost != 0) {
    return {Outcome::Kind::kHostTrouble, exit_code::kHostTrouble,
            "cannot write the command's output: " + errno_text(evidence.output_lost),
            "  fix: " + fix_for_growth(evidence.output_lost, "send it where there is room")};
  }
  if (ending.exit_code != exit_code::kClean) return ending;
  if (!evidence.flushed) {
    return {Outcome::Kind::kHostTrouble, exit_code::kHostTrouble,
            ending.what + ", but not all of its data is safe" + (evidence.stuck.empty() ? "" : ": " + evidence.stuck)};
  }
  if (!evidence.failed_tests.empty()) {
    return {Outcome::Kind::kCommand, exit_code::kTestsFailed, "by the command's TAP: " + evidence.failed_tests};
  }
  if (!evidence.failed_ktap.empty()) {
    return {Outcome::Kind::kOffence, exit_code::kOffence, "by the guest's KTAP: " + evidence.failed_ktap};
  }
  if (!evidence.offence) return ending;
  return {Outcome::Kind::kOffence, exit_code::kOffence,
          fmt::format("{} in the kernel's log: {}", evidence.offence->kind, evidence.offence->line),
          "  fix: mend the kernel, or excuse the message with --allow FILE, or name the kinds that count: --fail-on "
          "none,KIND"};
}

std::string phase_of(const Evidence& evidence) {
  if (evidence.command_started) return "command";
  if (const auto panic = panic_behind(evidence); panic && has_no_init(panic->reason)) return "kernel";
  const auto& findings = evidence.findings;
  if (evidence.init_on_console || (findings && findings->user_space)) return "userspace";
  if (!findings) return {};
  if (findings->kernel.empty()) return "start";
  return findings->log_whole ? "kernel" : "";
}

std::string disagreement(const Evidence& evidence, const Outcome& verdict) {
  if (had_crash_kernel(evidence)) return {};  // memory is the crash kernel's
  const bool on_console = evidence.console_panic || evidence.survived_panic;
  const bool in_memory = panic_in_memory(evidence);
  const bool log_read = evidence.findings && !evidence.findings->log.empty();
  if (verdict.exit_code == exit_code::kClean) {
    return on_console || in_memory ? "there is a panic in what the guest printed, but it ended well" : "";
  }
  if (on_console && log_read && !in_memory) return "the console shows a panic, the log in memory does not";
  if (in_memory && !on_console && evidence.has_console) return "the log in memory has a panic that no console showed";
  return {};
}

std::vector<RunResult::Detector> detectors(const Evidence& evidence) {
  const auto& panic = evidence.survived_panic ? evidence.survived_panic : evidence.console_panic;
  return {{"console", panic ? "panic: " + panic->reason : ""},
          {"memory", panic_in_memory(evidence) ? "panic: " + evidence.findings->panic->reason : ""},
          {"hardware", verdict_name(evidence.ending)}};
}

}  // namespace vmm
