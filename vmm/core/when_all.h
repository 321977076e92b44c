// when_all(): tasks side by side on one loop.
//
//   co_await when_all(std::move(tasks));   // goes on when every one of them has ended
//
// They start in order, each running until it first waits, and end in any.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <utility>
#include <vector>

#include "vmm/core/async.h"

namespace vmm {

class WhenAll {
 public:
  explicit WhenAll(std::vector<Task<void>> tasks) : tasks_(std::move(tasks)) {}
  WhenAll(const WhenAll&) = delete;
  WhenAll& operator=(const WhenAll&) = delete;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiting) {
    waiting_ = waiting;
    running_ = tasks_.size() + 1;  // this call counts as one, or the last task could end it too early
    for (Task<void>& task : tasks_) run(*this, task);
    return --running_ > 0;
  }
  void await_resume() const noexcept {}

 private:
  // A coroutine nobody awaits, which frees itself at its end.
  struct Detached {
    struct promise_type {
      Detached get_return_object() const noexcept { return {}; }
      std::suspend_never initial_suspend() const noexcept { return {}; }
      std::suspend_never final_suspend() const noexcept { return {}; }
      void return_void() const noexcept {}
      [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
    };
  };

  static Detached run(WhenAll& all, Task<void>& task) {
    co_await task;
    if (--all.running_ == 0) all.waiting_.resume();
  }

  std::vector<Task<void>> tasks_;
  std::coroutine_handle<> waiting_;
  size_t running_ = 0;
};

inline WhenAll when_all(std::vector<Task<void>> tasks) { return WhenAll(std::move(tasks)); }

}  // namespace vmm
