// RunResult: everything that is known of a run when it is over, and the forms in which others want to read it.
//
// The exit code is a summary; this is the truth.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/control/verdict/junit.h"
#include "vmm/control/verdict/tap.h"
#include "vmm/machine/outcome.h"

namespace vmm {

struct RunResult {
  struct Cpu {
    unsigned id = 0;
    std::string doing;
    std::string place;
    std::vector<std::string> stack;
  };
  // How often vCPUs left the guest, by KVM's own count and name: "halt_exits".
  struct Exits {
    std::string name;
    uint64_t count = 0;
  };
  // Who noticed how it ended, each by itself: "console", "memory" (the kernel's log), "hardware" (what the guest did).
  struct Detector {
    std::string name;
    std::string says;  // empty: nothing
  };

  std::string verdict;  // "pass", "fail", "panic", "timeout", ...: verdict_name()
  std::string reason;
  int exit_code = 0;
  double seconds = 0;            // from power-on to the end, all boots together
  uint64_t exits = 0;            // of all vCPUs to this process, as long
  std::vector<Exits> kvm_exits;  // of all vCPUs, as long; empty where the host does not tell
  std::string kernel;            // as it was given
  std::string release;
  std::string kaslr;    // how far the kernel moved itself, where that is known
  std::string phase;    // phase that the guest reached: "start", "kernel", "userspace", "command"; empty: nothing tells
  std::string console;  // the file that has what its first serial line printed; empty: none
  std::vector<std::string> command;
  std::optional<int> status;  // exit status of the command or the debug exit, before any mapping
  std::optional<int> signal;  // signal that killed the command
  std::vector<Detector> detectors;
  std::string disagreement;  // among them, in words
  std::vector<Cpu> vcpus;
  std::vector<std::string> last_log;
  std::string vmcore;          // path of the vmcore of the end; empty: none
  std::string stuck;           // what did not come to rest at the end, in words; empty: nothing
  std::vector<TapCase> cases;  // cases that the command printed as TAP, then those of the guest's own KTAP
  std::vector<std::string> tap_problems;
  std::string reproduce;  // a shell line
};

// One JSON object and a newline.
std::string to_json(const RunResult& result);
// A JUnit document: the run, then the cases.
std::string to_junit(const RunResult& result);
// The cases of TAP, as JUnit's of the class `of`.
std::vector<JunitCase> tap_cases(std::string_view of, const std::vector<TapCase>& cases);
// A TAP document of one test, with the same cases as its subtests.
std::string to_tap(const RunResult& result);
// A workflow command of GitHub's that marks a failure; empty when there is none.
std::string to_github(const RunResult& result);

// The words as a line for a POSIX shell.
std::string shell_line(const std::vector<std::string>& words);

// "pass", "fail", "panic", "no-root", "triple-fault", ...
std::string verdict_name(const Outcome& outcome);

// Where a user wants to have the result, and in what form.
struct ReportConfig {
  enum class ExitStyle { kVmm, kSimple, kCrosvm };

  std::string json;   // a file; empty: none
  std::string junit;  // the same
  bool github = false;
  bool tap = false;  // on standard output
  ExitStyle exit_style = ExitStyle::kVmm;
  std::vector<std::string> words;  // of the command line, without the program's name

  // Throws Error when one of the files could not be written; nothing is left of having tried.
  void check() const;
  // Throws Error when a file cannot be written.
  void write(const RunResult& result) const;
  // Ours is a verdict in full; others know fewer.
  int exit_code(const Outcome& outcome) const;
};

}  // namespace vmm
