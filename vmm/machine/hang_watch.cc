// See hang_watch.h.
#include "vmm/machine/hang_watch.h"

#include <fmt/format.h>

#include <algorithm>

namespace vmm {

namespace {

using Activity = CpuState::Activity;

bool may_spin(const HangWatch::Sample& sample) {
  return sample.activity == Activity::kRunning && !sample.interrupts_on;
}

bool is_dead(const HangWatch::Sample& sample) { return sample.activity == Activity::kHalted && !sample.interrupts_on; }

// Who was not started waits for one of the others.
bool nothing_wakes(std::span<const HangWatch::Sample> samples) {
  return std::ranges::any_of(samples, is_dead) && std::ranges::all_of(samples, [](const HangWatch::Sample& sample) {
           return is_dead(sample) || sample.activity == Activity::kNotStarted;
         });
}

}  // namespace

void HangWatch::Circle::note(const Sample& sample, Clock::time_point now) {
  if (!may_spin(sample)) {
    looks = 0;
    return;
  }
  const bool known = std::ranges::find(states, sample.registers) != states.end();
  if (looks == 0 || sample.exits != exits || (!known && states.size() == kMostStates)) {
    *this = {.since = now, .exits = sample.exits, .cpu_time = sample.cpu_time, .states = {sample.registers}};
  } else if (!known) {
    states.push_back(sample.registers);
  }
  ++looks;
}

std::optional<std::string> HangWatch::look(std::span<const Sample> samples, Clock::time_point now) {
  circles_.resize(samples.size());
  suspicious_ = nothing_wakes(samples);
  if (!suspicious_) dead_since_.reset();
  if (suspicious_ && now - dead_since_.emplace(dead_since_.value_or(now)) >= limit_) {
    return samples.size() > 1 ? "all vCPUs are halted with interrupts off: nothing wakes them"
                              : "its vCPU is halted with interrupts off: nothing wakes it";
  }
  for (size_t i = 0; i < samples.size(); ++i) {
    Circle& circle = circles_[i];
    circle.note(samples[i], now);
    suspicious_ = suspicious_ || circle.looks > 0;
    const bool had_time = samples[i].cpu_time - circle.cpu_time >= limit_ / 4;
    if (circle.looks > kMostStates && now - circle.since >= limit_ && had_time) {
      return fmt::format("vCPU {} spins with interrupts off", samples[i].id);
    }
  }
  return std::nullopt;
}

void HangWatch::forget() {
  circles_.clear();
  dead_since_.reset();
  suspicious_ = false;
}

}  // namespace vmm
