// IoUring: the IoEngine over io_uring(7).
//
// Requests gather during a turn of the loop and go to the kernel in one system call at its end; what the page cache
// answered at once is completed in the same breath. The rest is seen by the loop when it polls, or makes the ring's
// descriptor readable, which wakes the loop. At most kDepth requests are with the kernel, fewer than the completion
// queue holds, so it cannot overflow; more wait here.
//
// A seccomp filter does not see what a ring does. So the ring is born disabled and restricted before it is enabled, for
// good: reads, writes, fdatasync and fallocate, on registered files, and nothing else.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "devices/backends/disk/io_engine.h"
#include "vmm/core/turn_budget.h"

struct io_uring;
struct io_uring_sqe;

namespace vmm {

class IoUring : public IoEngine, private Poller {
 public:
  explicit IoUring(EventLoop& loop);  // throws Error when the host does not allow it
  ~IoUring() override;

  const char* name() const override { return "io_uring"; }
  int add_file(int fd) override;
  void remove_file(int file) override;
  void start(IoRequest& request) override;
  void drain() override;

 private:
  struct RingCloser {
    void operator()(io_uring* ring) const;
  };

  bool poll() override;
  void restrict_and_enable();
  void schedule_submit();
  void submit();
  void hand_over();
  void fail_unsubmitted(int error);
  void reap();

  EventLoop& loop_;
  std::unique_ptr<io_uring, RingCloser> ring_;
  FdWatch completions_;
  Timer retry_;
  TurnBudget budget_;        // bytes that the kernel still gets in this turn
  std::vector<bool> slots_;  // slots of the registered file table that are taken
  IoQueue waiting_;          // requests that are not in the submission queue yet
  IoQueue staged_;           // requests in the submission queue that the kernel has not accepted yet
  size_t in_flight_ = 0;     // staged or with the kernel
  int broken_ = 0;           // the error after which the kernel is not asked again
  bool submit_scheduled_ = false;
  bool submitting_ = false;
  // Callbacks queued in the loop may outlive the engine: they hold this weakly.
  std::shared_ptr<IoUring*> self_ = std::make_shared<IoUring*>(this);
};

}  // namespace vmm
