// Wakeup: a condition that one task on the loop awaits.
//
//   co_await wakeup;     // goes on after notify(), at once when that came first
//
// It says that something may have changed, not what: the task looks again.
#pragma once

#include <coroutine>
#include <utility>

namespace vmm {

class Wakeup {
 public:
  void notify() {
    notified_ = true;
    if (waiting_) std::exchange(waiting_, nullptr).resume();
  }

  bool await_ready() const { return notified_; }
  void await_suspend(std::coroutine_handle<> waiting) { waiting_ = waiting; }
  void await_resume() { notified_ = false; }

 private:
  bool notified_ = false;
  std::coroutine_handle<> waiting_;
};

}  // namespace vmm
