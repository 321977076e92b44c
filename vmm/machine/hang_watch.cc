// The looks at vCPUs: what repeats, what rests, and for how long; see hang_watch.h.
#include "vmm/machine/hang_watch.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

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

const char* activity_name(Activity activity) {
  switch (activity) {
    case Activity::kHalted:
      return "halted";
    case Activity::kNotStarted:
      return "not started";
    case Activity::kRunning:
      break;
  }
  return "running";
}

}  // namespace

void HangWatch::Circle::note(const Sample& sample, Clock::time_point now) {
  if (!may_spin(sample)) {
    looks = 0;
    return;
  }
  const bool known = std::ranges::find(states, sample.registers) != states.end();
  if (looks == 0 || sample.progress() != progress || (!known && states.size() == kMostStates)) {
    *this = {.since = now, .progress = sample.progress(), .cpu_time = sample.cpu_time, .states = {sample.registers}};
  } else if (!known) {
    states.push_back(sample.registers);
  }
  ++looks;
}

bool HangWatch::all_take_interrupts(const Interrupts& interrupts) {
  const Interrupts before = std::exchange(interrupts_, interrupts);
  const bool all = std::ranges::equal(before, interrupts,
                                      [](const auto& then, const auto& now) { return then && now && *now > *then; });
  if (all) forget_circles();
  return all;
}

std::optional<std::string> HangWatch::look(std::span<const Sample> samples, Clock::time_point now) {
  circles_.resize(samples.size());
  remember(samples, now);
  suspicious_ = nothing_wakes(samples);
  if (!suspicious_) dead_since_.reset();
  if (suspicious_ && now - dead_since_.emplace(dead_since_.value_or(now)) >= limit_) {
    return samples.size() > 1 ? "all vCPUs are halted with interrupts off: nothing wakes them"
                              : "its vCPU is halted with interrupts off: nothing wakes it";
  }
  for (size_t i = 0; i < samples.size(); ++i) {
    Circle& circle = circles_[i];
    if (may_spin(samples[i]) && may_wait_for_another(i)) continue;
    circle.note(samples[i], now);
    suspicious_ = suspicious_ || circle.looks > 0;
    const bool had_time = samples[i].cpu_time - circle.cpu_time >= limit_ / 4;
    if (circle.looks > kMostStates && now - circle.since >= limit_ && had_time) {
      return fmt::format("vCPU {} spins with interrupts off", samples[i].id);
    }
  }
  return std::nullopt;
}

bool HangWatch::may_wait_for_another(size_t cpu) const {
  if (looks_.size() < 2) return false;
  const std::vector<Sample>& before = looks_[looks_.size() - 2].samples;
  const std::vector<Sample>& now = looks_.back().samples;
  for (size_t i = 0; i < now.size(); ++i) {
    if (i != cpu && may_spin(now[i]) && now[i].progress() != before[i].progress()) return true;
  }
  return false;
}

void HangWatch::remember(std::span<const Sample> samples, Clock::time_point now) {
  looks_.push_back({now, {samples.begin(), samples.end()}});
  while (looks_.size() > 2 && now - looks_[1].when >= limit_) looks_.pop_front();
}

std::string HangWatch::activity() const {
  std::string text;
  if (looks_.empty()) return text;
  const Look& first = looks_.front();
  const Look& last = looks_.back();
  const double seconds = std::chrono::duration<double>(last.when - first.when).count();
  for (size_t i = 0; i < last.samples.size(); ++i) {
    const Sample& then = first.samples[i];
    const Sample& now = last.samples[i];
    text += fmt::format("  vCPU {}: {}; ", now.id, activity_name(now.activity));
    if (then.counts && now.counts) {
      text += fmt::format("{} exits to KVM, ", now.counts->exits - then.counts->exits);
      if (now.counts->interrupts) {
        text += fmt::format("{} interrupts, ", *now.counts->interrupts - then.counts->interrupts.value_or(0));
      }
      text += fmt::format("{} wake-ups", now.counts->wakeups - then.counts->wakeups);
    } else {
      text += fmt::format("{} exits to vmm", now.exits - then.exits);
    }
    text += fmt::format(" in {:.1f} s\n", seconds);
  }
  return text;
}

void HangWatch::forget() {
  looks_.clear();
  interrupts_.clear();
  forget_circles();
}

void HangWatch::forget_circles() {
  circles_.clear();
  dead_since_.reset();
  suspicious_ = false;
}

}  // namespace vmm
