// HangWatch: finds out that a guest gets nowhere any more, by looking at its vCPUs now and then.
//
// A vCPU is stuck when, with interrupts off, it comes by the very same registers again and again, does nothing that
// concerns a device, and uses the host's CPU meanwhile: it is in a loop that nothing in itself can end. A computation
// with interrupts off has other registers each time, and a vCPU that the host gives no time is not blamed. And when all
// that were started are halted with interrupts off, nothing wakes them. A guest that is idle (halted, but open to
// interrupts) is not hung, and so is none that spins with interrupts on: its own kernel notices that.
//
// Where KVM counts for us (kvm/stats.h), what it answers by itself is progress as well: an access that rings an
// ioeventfd, a hypercall, an interrupt that was taken. All exits together are no sign of it: most are the host's own
// interrupts, and a loop of PAUSE makes many. Nor are wake-ups of a halted vCPU: a look is one.
//
// While one vCPU gets on with interrupts off, as a kernel's debugger does that waits for gdb on a serial line, others
// may spin because it told them to: such a look says nothing of them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vmm/blackbox/cpu_state.h"

namespace vmm {

class HangWatch {
 public:
  using Clock = std::chrono::steady_clock;

  // What KVM has counted of a vCPU.
  struct Counts {
    uint64_t exits = 0;                  // from the guest to KVM
    uint64_t accesses = 0;               // accesses to ports and device memory, and hypercalls
    std::optional<uint64_t> interrupts;  // interrupts that it was given, where KVM counts them
    uint64_t wakeups = 0;                // from a halt
  };
  // One vCPU at one moment.
  struct Sample {
    unsigned id = 0;
    CpuState::Activity activity = CpuState::Activity::kRunning;
    bool interrupts_on = false;
    uint64_t registers = 0;                // a hash of all general ones
    uint64_t exits = 0;                    // to this process
    std::chrono::nanoseconds cpu_time{0};  // of its thread
    std::optional<Counts> counts;          // where the host tells

    // What changes when it gets on.
    uint64_t progress() const { return exits + (counts ? counts->accesses + counts->interrupts.value_or(0) : 0); }
  };

  // Interrupts that KVM says each vCPU has taken; empty where it does not count them.
  using Interrupts = std::vector<std::optional<uint64_t>>;

  // `limit`: how long no progress is a hang.
  explicit HangWatch(std::chrono::milliseconds limit) : limit_(limit) {}

  // Spares the guest a look: have all vCPUs taken an interrupt since this was asked last? None of them was stuck then.
  bool all_take_interrupts(const Interrupts& interrupts);
  // All vCPUs, always in the same order. What is stuck, in words, once it has been for the limit.
  std::optional<std::string> look(std::span<const Sample> samples, Clock::time_point now);
  // What every vCPU did lately, a line each: "  vCPU 1: running; 9 exits to KVM, 0 interrupts, 0 wake-ups in 10.0 s".
  std::string activity() const;
  // When to look again: rarely, unless there is a suspicion.
  std::chrono::milliseconds interval() const { return std::max(limit_ / (suspicious_ ? kLooks : 2), kShortest); }
  // Time in which the guest was not to run does not count.
  void forget();

 private:
  static constexpr unsigned kLooks = 20;  // in the limit, when there is a suspicion
  static constexpr std::chrono::milliseconds kShortest{10};
  // A loop may be met at as many different instructions, or turns, as this. More is progress.
  static constexpr size_t kMostStates = kLooks / 2;

  // How long a vCPU has been going round in the same circle.
  struct Circle {
    void note(const Sample& sample, Clock::time_point now);

    Clock::time_point since{};
    uint64_t progress = 0;
    std::chrono::nanoseconds cpu_time{0};  // at the beginning
    std::vector<uint64_t> states;          // of the registers, each once
    unsigned looks = 0;                    // zero: it is in none
  };

  struct Look {
    Clock::time_point when;
    std::vector<Sample> samples;
  };
  void forget_circles();
  void remember(std::span<const Sample> samples, Clock::time_point now);
  // Whether another vCPU than this one, which has interrupts off, got on since the look before.
  bool may_wait_for_another(size_t cpu) const;

  std::chrono::milliseconds limit_;
  std::deque<Look> looks_;  // those of the last limit, and one that is as old as it or older
  Interrupts interrupts_;
  bool suspicious_ = false;
  std::vector<Circle> circles_;
  std::optional<Clock::time_point> dead_since_;  // all halted for good
};

}  // namespace vmm
