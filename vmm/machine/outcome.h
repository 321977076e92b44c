// Outcome: how a machine ended, as an exit code and the lines that say why.
#pragma once

#include <string>

namespace vmm {

// The exit codes; everything below 96 belongs to the guest.
namespace exit_code {
constexpr int kClean = 0;
constexpr int kPanic = 96;
constexpr int kTripleFault = 98;
constexpr int kKvmError = 99;
constexpr int kNoRoot = 100;
constexpr int kInitDied = 101;
constexpr int kReset = 104;
constexpr int kHostTrouble = 125;
constexpr int kQuit = 130;
constexpr int kTerminated = 143;
}  // namespace exit_code

struct Outcome {
  enum class Kind { kPoweroff, kReset, kDebugExit, kPanic, kTripleFault, kKvmError, kQuit, kTerminated, kHostTrouble };

  Kind kind = Kind::kPoweroff;
  int exit_code = exit_code::kClean;
  std::string what;          // "guest powered off"
  std::string details = {};  // further lines, such as registers
};

}  // namespace vmm
