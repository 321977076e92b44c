// CpuState: what a vCPU was about when it stopped, as far as its mode and its stack can be told from it.
#pragma once

#include <cstdint>

namespace vmm {

struct CpuState {
  enum class Activity { kRunning, kHalted, kNotStarted };

  unsigned id = 0;
  Activity activity = Activity::kRunning;
  unsigned privilege = 0;  // CPL: 3 is user space
  uint64_t rip = 0;
  uint64_t rsp = 0;
  uint64_t rbp = 0;
  // The registers besides these that ORC may count a frame from.
  uint64_t rdx = 0;
  uint64_t rdi = 0;
  uint64_t r10 = 0;
  uint64_t r13 = 0;
  uint64_t cr0 = 0;
  uint64_t cr3 = 0;
  uint64_t cr4 = 0;
  uint64_t efer = 0;
};

}  // namespace vmm
