// TimeLimit: a Timer that can be held, for time in which a debugger had the machine stopped.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

#include "vmm/core/event_loop.h"

namespace vmm {

class TimeLimit {
 public:
  TimeLimit(EventLoop& loop, std::function<void()> on_expiry)
      : timer_(loop, [this, on_expiry = std::move(on_expiry)] {
          wanted_ = false;
          on_expiry();
        }) {}
  TimeLimit(const TimeLimit&) = delete;
  TimeLimit& operator=(const TimeLimit&) = delete;

  void start(std::chrono::milliseconds limit) {
    left_ = limit;
    wanted_ = true;
    if (!held_) run();
  }
  void cancel() {
    wanted_ = false;
    timer_.cancel();
  }
  // Holds the clock until go(); what is left is counted from there.
  void hold() {
    if (std::exchange(held_, true) || !timer_.running()) return;
    const auto spent = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - since_);
    left_ = std::max(left_ - spent, std::chrono::milliseconds(0));
    timer_.cancel();
  }
  void go() {
    if (std::exchange(held_, false) && wanted_) run();
  }

 private:
  using Clock = std::chrono::steady_clock;

  void run() {
    since_ = Clock::now();
    timer_.start(left_);
  }

  Timer timer_;
  Clock::time_point since_;
  std::chrono::milliseconds left_{0};
  bool wanted_ = false;
  bool held_ = false;
};

}  // namespace vmm
