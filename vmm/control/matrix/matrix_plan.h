// The plan of `vmm test`: from kernels, configurations and commands to the list of runs. Each is looked at as `vmm run`
// would look at it, so what cannot be right is refused before anything has started.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "vmm/control/matrix/matrix_file.h"

namespace vmm {

struct MatrixRun {
  std::string name;                // "6.1/smp/selftests"
  std::vector<std::string> words;  // of the command line, from "run" on
  unsigned cpus = 1;
  uint64_t memory = 0;                   // bytes
  std::chrono::milliseconds timeout{0};  // limit that the run's vmm keeps by itself; zero: none
  bool has_serial = false;               // the plan says where the console goes
};

// Settings of `under` replaced by those of `over`, but for lists, which get longer.
RunSettings merged(RunSettings under, const RunSettings& over);

// The product of the axes. `over` is what the command line says, and holds for every run. Throws Error.
std::vector<MatrixRun> plan_runs(const MatrixFile& file, const RunSettings& over);

// What runs may take of the host at a time.
struct TestBudget {
  unsigned jobs = 0;  // runs
  unsigned cpus = 0;
  uint64_t memory = 0;  // bytes

  // What the options say, else what the host has now.
  static TestBudget of(const MatrixOptions& options);
  // Throws Error when one of these would have to wait for ever.
  void check(const std::vector<MatrixRun>& runs) const;
};

}  // namespace vmm
