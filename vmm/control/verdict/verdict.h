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
  bool flushed = true;                       // all that it wrote is on its disks
  int output_lost = 0;                       // by which errno not all of its command's output could be written
  bool has_console = false;                  // that is looked at
  bool init_on_console = false;              // one of them shows that it was started
  bool command_started = false;              // the guest's side of `-- CMD` was heard of
  std::optional<Panic> console_panic;        // that one of them shows
  std::optional<Panic> survived_panic;       // that one of them shows, and then a crash kernel, whose end this is
  std::optional<Findings> findings;          // in memory, where it was looked at
  std::optional<LogJudge::Offence> offence;  // of what --fail-on names
  // What the command printed of its tests, where that decides and they did not all pass; else empty.
  std::string failed_tests;
  std::string failed_ktap;  // the same of the tests that the guest reported by itself, where --fail-on names them
  Root root = Root::kNothing;
};

Outcome verdict_of(const Evidence& evidence);

// That the guest came to: "start", where no kernel is found yet, "kernel", "userspace", or "command"; empty when
// nothing tells, as when a kernel's log has lost its beginning.
std::string phase_of(const Evidence& evidence);

// What they contradict each other in, in words; empty when they agree. `verdict`: verdict_of() this evidence.
std::string disagreement(const Evidence& evidence, const Outcome& verdict);

std::vector<RunResult::Detector> detectors(const Evidence& evidence);

}  // namespace vmm
