// Outcome: how a machine ended, as an exit code and the lines that say why.
#pragma once

#include <optional>
#include <string>

namespace vmm {

// The exit codes; everything below 96 belongs to the guest.
namespace exit_code {
constexpr int kClean = 0;
constexpr int kTestsFailed = 1;   // by what the command printed, or of `vmm test`
constexpr int kLastOfGuest = 95;  // statuses above it are reported as this one
constexpr int kPanic = 96;
constexpr int kOffence = 97;
constexpr int kTripleFault = 98;
constexpr int kKvmError = 99;
constexpr int kNoRoot = 100;
constexpr int kInitDied = 101;
constexpr int kHung = 102;
constexpr int kNoVerdict = 103;
constexpr int kReset = 104;
constexpr int kTimeout = 124;
constexpr int kHostTrouble = 125;
constexpr int kNotExecutable = 126;
constexpr int kNotFound = 127;
constexpr int kQuit = 130;
constexpr int kTerminated = 143;
}  // namespace exit_code

struct Outcome {
  enum class Kind {
    kPoweroff,
    kReset,
    kDebugExit,
    kCommand,    // `-- CMD` has ended in the guest
    kNoVerdict,  // the guest ended before it
    kOffence,    // it ended well, but the kernel's log has what --fail-on names
    kPanic,
    kTripleFault,
    kKvmError,
    kHung,
    kTimeout,
    kQuit,
    kTerminated,
    kHostTrouble,
  };

  Kind kind = Kind::kPoweroff;
  int exit_code = exit_code::kClean;
  std::string what;                // "guest powered off"
  std::string details = {};        // further lines, such as registers
  std::optional<int> status = {};  // kDebugExit only: the guest's own status, before any mapping

  // Did somebody, or a time limit, decide to end the run?
  bool is_decision() const { return kind == Kind::kTimeout || is_order(); }

  // Did somebody decide it, rather than a time limit?
  bool is_order() const { return kind == Kind::kQuit || kind == Kind::kTerminated; }

  // Could the host, or the guest's side of `-- CMD`, not do what it was to do?
  bool is_error() const {
    return kind == Kind::kHostTrouble || (kind == Kind::kCommand && exit_code > exit_code::kLastOfGuest);
  }

  // Did the guest die, or get nowhere any more, so that its memory tells why?
  bool is_death() const {
    return kind == Kind::kPanic || kind == Kind::kTripleFault || kind == Kind::kKvmError || kind == Kind::kHung ||
           kind == Kind::kTimeout;
  }

  // Did the guest come to an end that its console may explain?
  bool is_failure_of_guest() const {
    return kind == Kind::kPanic || kind == Kind::kNoVerdict || kind == Kind::kReset || kind == Kind::kTripleFault ||
           kind == Kind::kKvmError || kind == Kind::kHung;
  }
};

}  // namespace vmm
