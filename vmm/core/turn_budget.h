// TurnBudget: how much one task does in a turn of the loop before others get theirs.
//
//   TurnBudget budget(loop, 256 * 1024);
//   co_await budget.spend(length);   // goes on at once, or in the next turn when this one's share is used up
//
// Everybody waits for the end of a turn, so what takes long is done in parts, one in each. The unit is the user's,
// bytes as a rule: to count costs no look at a clock. On the loop's thread only.
#pragma once

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <cstdint>

#include "vmm/core/event_loop.h"

namespace vmm {

// The turns of this thread's loop, counted; event_loop.cc keeps it.
uint64_t current_turn();
// So many bytes are being worked on in this turn. Beside much work a look at descriptors costs nothing, so the loop
// does not put it off any longer.
void count_work(size_t bytes);

class TurnBudget {
 public:
  TurnBudget(EventLoop& loop, size_t per_turn) : loop_(loop), per_turn_(per_turn) {}

  // What may still be done in this turn.
  size_t left() {
    if (const uint64_t turn = current_turn(); turn != turn_) {
      turn_ = turn;
      left_ = per_turn_;
    }
    return left_;
  }
  // That much was done, or is about to be; work that cannot be divided may exceed what is left.
  void charge(size_t work) { left_ = left() - std::min(left(), work); }
  // As if the next turn had begun: for who ends, and has no other.
  void renew() { left_ = per_turn_; }

  class Spend {
   public:
    Spend(EventLoop& loop, bool goes_on) : loop_(loop), goes_on_(goes_on) {}
    bool await_ready() const { return goes_on_; }
    void await_suspend(std::coroutine_handle<> waiting) { loop_.next_turn().await_suspend(waiting); }
    void await_resume() const {}

   private:
    EventLoop& loop_;
    bool goes_on_;
  };
  [[nodiscard]] Spend spend(size_t work) {
    charge(work);
    return {loop_, left() > 0};
  }

 private:
  EventLoop& loop_;
  const size_t per_turn_;
  uint64_t turn_ = ~uint64_t{0};  // of which left_ is
  size_t left_ = 0;
};

}  // namespace vmm
