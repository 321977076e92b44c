// ThreadEngine: the IoEngine for hosts without io_uring. A few threads per file make the same system calls, blocking
// there instead of on the loop; an eventfd brings the results back to it. No file waits for the threads of another, so
// that one whose storage hangs does not take the others along.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "devices/backends/disk/io_engine.h"
#include "vmm/core/fd.h"

namespace vmm {

class ThreadEngine : public IoEngine {
 public:
  explicit ThreadEngine(EventLoop& loop);
  ~ThreadEngine() override;

  const char* name() const override { return "threads"; }
  int add_file(int fd) override;  // throws Error when the host has no thread left
  void remove_file(int file) override;
  void start(IoRequest& request) override;
  void drain() override;

 private:
  // The threads of one file.
  class Crew {
   public:
    explicit Crew(ThreadEngine& engine);
    ~Crew();
    void take(IoRequest& request);

   private:
    void start_threads();
    void join_threads();
    void work();

    ThreadEngine& engine_;
    std::mutex mutex_;
    std::condition_variable work_arrived_;
    IoQueue todo_;  // under mutex_, as is the next
    bool stopping_ = false;
    std::vector<std::thread> threads_;
  };

  void finished(IoRequest& request);  // called by the threads
  void deliver();

  EventFd done_event_;
  FdWatch done_watch_;
  size_t in_flight_ = 0;  // loop thread only: started and not delivered yet

  std::mutex mutex_;
  std::condition_variable work_done_;
  IoQueue done_;                                // under mutex_
  std::map<int, std::unique_ptr<Crew>> crews_;  // loop thread only
};

}  // namespace vmm
