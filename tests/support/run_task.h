// run_task(): runs a loop until a task has ended, and gives its answer.
#pragma once

#include <optional>
#include <utility>

#include "vmm/core/event_loop.h"

namespace vmm::test {

template <typename T>
Task<void> keep_result(Task<T> task, std::optional<T>& result) {
  result.emplace(co_await task);
}

template <typename T>
T run_task(EventLoop& loop, Task<T> task) {
  std::optional<T> result;
  // Posted, so that what it starts belongs to a turn of the loop.
  loop.post([&] { loop.spawn(keep_result(std::move(task), result), [&loop] { loop.stop(); }); });
  loop.run();
  return std::move(*result);
}

}  // namespace vmm::test
