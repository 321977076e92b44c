// ThreadEngine: the IoEngine for hosts without io_uring. A few threads make the same system calls, blocking there
// instead of on the loop; an eventfd brings the results back to it.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

#include "devices/backends/io_engine.h"
#include "vmm/core/fd.h"

namespace vmm {

class ThreadEngine : public IoEngine {
 public:
  explicit ThreadEngine(EventLoop& loop);  // throws Error when the host has no thread left
  ~ThreadEngine() override;

  const char* name() const override { return "threads"; }
  int add_file(int fd) override { return fd; }
  void remove_file(int) override {}
  void start(IoRequest& request) override;
  void drain() override;

 private:
  void start_threads();
  void join_threads();
  void work();
  void deliver();

  EventFd done_event_;
  FdWatch done_watch_;
  size_t in_flight_ = 0;  // loop thread only: started and not delivered yet

  std::mutex mutex_;
  std::condition_variable work_arrived_;
  std::condition_variable work_done_;
  IoQueue todo_;  // under mutex_, as are the two below
  IoQueue done_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace vmm
