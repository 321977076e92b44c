// Verdict: what a run comes to, weighed from what is known when everything has come to rest.
//
// Three look at the same end, each by itself: the consoles, the log in the guest's memory, and the hardware, which is
// what the guest did. None of them is believed alone where another one says more, and where they contradict each other
// that is told. Everything here is a function of the Evidence.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "vmm/control/verdict/findings.h"
#include "vmm/control/verdict/log_judge.h"
#include "vmm/control/verdict/result.h"
#include "vmm/machine/outcome.h"

namespace vmm {

struct Evidence {
  struct Panic {
    std::string reason;
    double seconds = 0;  // since its boot began
  };
  // What the root file system was to come from, for one that was not found.
  enum class Root { kNothing, kIdleDisk, kDrivenDisk, kDirectory };

  Outcome ending;                            // what the guest did, or somebody decided
  bool flushed = true;                       // the disks have all that the guest wrote
  std::string stuck;                         // what did not come to rest at the end, in words; empty: nothing
  int output_lost = 0;                       // errno by which the command's output was not all written; 0: it was
  bool has_console = false;                  // a console is watched for panics
  bool init_on_console = false;              // a console shows that init was started
  bool command_started = false;              // the guest's side of `-- CMD` has reported
  std::optional<Panic> console_panic;        // a panic that a console shows
  std::optional<Panic> survived_panic;       // panic that a console shows before a crash kernel, whose end this is
  std::optional<Findings> findings;          // what guest memory says; empty when it was not looked at
  std::optional<LogJudge::Offence> offence;  // a line that --fail-on names
  // Summary of the command's TAP, when that decides and not all tests passed; else empty.
  std::string failed_tests;
  std::string failed_ktap;  // the same of the guest's own KTAP, when --fail-on names it
  Root root = Root::kNothing;
};

Outcome verdict_of(const Evidence& evidence);

// The phase that the guest reached: "start", where no kernel is found yet, "kernel", "userspace", or "command"; empty
// when nothing tells, as when a kernel's log has lost its beginning.
std::string phase_of(const Evidence& evidence);

// The disagreement between the witnesses, in words; empty when they agree. `verdict`: verdict_of() this evidence.
std::string disagreement(const Evidence& evidence, const Outcome& verdict);

std::vector<RunResult::Detector> detectors(const Evidence& evidence);

}  // namespace vmm
