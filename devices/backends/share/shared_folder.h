// SharedFolder: a directory of the host for a virtio-fs device: the FUSE server, on a thread of its own.
//
// The thread makes the system calls, which may take as long as the host's file system likes; the loop and other devices
// go on meanwhile. One thread answers the requests in the order in which they came, so that the server needs no locks.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

#include "devices/backends/share/fuse_server.h"
#include "devices/backends/share/share_backend.h"
#include "devices/backends/share/share_config.h"
#include "vmm/core/event_loop.h"

namespace vmm {

class SharedFolder : public ShareBackend {
 public:
  // Throws Error when the directory cannot be shared. `max_files`: see SharedTree.
  SharedFolder(EventLoop& loop, const ShareConfig& config, size_t max_files);
  ~SharedFolder() override;

  const std::string& tag() const override { return config_.tag; }
  std::string describe() const override;
  Task<size_t> answer(std::span<const iovec> request, std::span<const iovec> reply) override;
  void reset() override;

  // How many descriptors each of `shares` may use for the guest's files.
  static size_t descriptor_budget(size_t shares);

 private:
  // One request, in the frame of the coroutine that waits for it.
  class Request {
   public:
    Request(SharedFolder& folder, std::span<const iovec> request, std::span<const iovec> reply)
        : folder_(folder), request_(request), reply_(reply) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting);
    size_t await_resume() const noexcept { return written_; }

   private:
    friend class SharedFolder;
    SharedFolder& folder_;
    std::span<const iovec> request_;
    std::span<const iovec> reply_;
    size_t written_ = 0;
    std::coroutine_handle<> waiting_;
  };

  void take(Request* request);
  void work();

  EventLoop& loop_;
  ShareConfig config_;
  FuseServer server_;  // the thread's

  std::mutex mutex_;
  std::condition_variable work_arrived_;
  std::deque<Request*> todo_;  // under mutex_, as is the next; null: a reset
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace vmm
