// EventLoop: one reactor, run by one thread, on which all device work happens.
//
// vCPU threads only touch registers; whatever takes longer is posted here or woken here by a descriptor. A loop turn
// is: wait, run what is ready (up to a bound), then run the "end of turn" callbacks. Those gather work that is cheaper
// in one go: an io_uring submits once per turn, a queue decides once per turn whether to interrupt the guest.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <functional>
#include <memory>

#include "vmm/core/async.h"

namespace vmm {

// Something that may have work before a descriptor says so: a ring in memory. Before the loop sleeps it looks at every
// one for a short while, because being woken costs more than most work does. How long adapts to how long the loop has
// slept lately: not at all when that was longer than kMaxLook.
class Poller {
 public:
  virtual ~Poller() = default;
  virtual bool poll() = 0;  // does what there is to do; false when there is nothing
  // The loop is about to sleep: from now on a descriptor has to tell. True when there is work now.
  virtual bool rest() { return false; }
};

class EventLoop {
 public:
  EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  ~EventLoop();

  // Runs turns on the calling thread until stop().
  void run();
  void stop();  // from any thread
  // Runs everything that is ready now without waiting (tests, draining). Returns how many handlers ran.
  size_t run_ready();

  // Runs `fn` on the loop's thread in a later turn. From any thread.
  void post(std::function<void()> fn);
  // An awaitable that ends in a later turn: a task with long work lets others have theirs. Loop thread only.
  class NextTurn;
  NextTurn next_turn();
  // Runs `fn` once at the end of the current turn. Loop thread only.
  void at_end_of_turn(std::function<void()> fn);
  // Pollers may be added and removed on the loop's thread only, and not from within poll() or rest().
  void add_poller(Poller& poller);
  void remove_poller(Poller& poller);
  // Counts a request of a guest's that was served, or is about to be: by these the loop knows whether patience pays
  // (patience.h). Loop thread only.
  void count_request();
  // Ends the patience of this thread before others are started, which would inherit it. Loop thread only.
  void end_patience();
  // Starts a task now, on the loop's thread, and calls `on_done` when it has ended.
  void spawn(Task<void> task, std::function<void()> on_done = {});

 private:
  friend class FdWatch;
  friend class Timer;
  struct Impl;
  void end_turn();
  std::unique_ptr<Impl> impl_;
};

class EventLoop::NextTurn {
 public:
  explicit NextTurn(EventLoop& loop) : loop_(loop) {}
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> waiting) {
    loop_.post([waiting] { waiting.resume(); });
  }
  void await_resume() const {}

 private:
  EventLoop& loop_;
};

inline EventLoop::NextTurn EventLoop::next_turn() { return NextTurn(*this); }

// Calls back once, on the loop's thread, when a descriptor becomes ready after arm(). Readiness is level triggered. A
// regular file, which epoll refuses, counts as always ready. Watching makes the open file description non-blocking.
class FdWatch {
 public:
  enum class Event { kReadable, kWritable };

  FdWatch(EventLoop& loop, int fd, Event event, std::function<void()> on_ready);
  FdWatch(FdWatch&&) noexcept = default;
  FdWatch& operator=(FdWatch&&) noexcept = default;
  ~FdWatch();

  void arm();     // one call of on_ready; arming an armed watch does nothing
  void disarm();  // no call of on_ready until armed again
  bool armed() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// Calls back once, on the loop's thread, after a delay.
class Timer {
 public:
  Timer(EventLoop& loop, std::function<void()> on_expiry);
  Timer(Timer&&) noexcept = default;
  Timer& operator=(Timer&&) noexcept = default;
  ~Timer();

  void start(std::chrono::nanoseconds delay);  // restarts a running timer
  void cancel();
  bool running() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace vmm
