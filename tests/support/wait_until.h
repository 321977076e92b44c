// wait_until(): steps a loop by hand until something has come true, for what the kernel or a timer brings about.
#pragma once

#include <chrono>
#include <thread>

#include "vmm/core/event_loop.h"

namespace vmm::test {

// False when `condition` has not come true within a minute, which is long enough for a busy host.
template <typename Condition>
bool wait_until(EventLoop& loop, Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  for (;;) {
    loop.run_ready();
    if (condition()) return true;
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace vmm::test
