// From what the vCPUs recorded to a RunTrace: ticks become nanoseconds, devices and places in the code get names.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "vmm/control/trace/run_trace.h"
#include "vmm/machine/exit_trace.h"

namespace vmm {

// The CPU's clock in terms of the host's, from two moments that both told. Needs some time between them.
class TraceClock {
 public:
  using Clock = std::chrono::steady_clock;
  struct Moment {
    Clock::time_point time;
    uint64_t ticks = 0;

    static Moment now() { return {Clock::now(), ExitTrace::now()}; }
  };

  // Times are counted from `start`, which may be before `first`.
  TraceClock(Clock::time_point start, const Moment& first, const Moment& second);

  double nanoseconds(uint64_t ticks) const;  // how long so many ticks are
  double at(uint64_t ticks) const;           // nanoseconds from the start to this moment; not below 0

 private:
  Moment first_;
  double start_to_first_ = 0;  // nanoseconds
  double per_tick_ = 0;
};

struct TraceNames {
  std::function<std::string(const Device*)> device;
  std::function<std::string(uint64_t)> symbol;  // of a kernel address; empty: not known
};

// Fills in rows, events and vCPUs.
void add_exits(RunTrace& trace, std::span<const ExitTrace* const> vcpus, const TraceClock& clock,
               const TraceNames& names);

}  // namespace vmm
