// IoEngine: file I/O for coroutines. One engine per event loop, shared by all disks of that loop.
//
//   const ssize_t got = co_await engine.read(file, offset, buffers);   // bytes, or -errno
//
// Nothing here blocks the loop: the kernel (IoUring) or a few threads (ThreadEngine) do the work, and the awaiting
// coroutine goes on, on the loop's thread, once it is done. Requests are not ordered among each other, and a transfer
// may be short. A request cannot be cancelled; its buffers stay in use until it has completed, so whoever owns them
// calls drain() before they go.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <coroutine>
#include <cstdint>
#include <memory>
#include <span>

#include "vmm/core/event_loop.h"

namespace vmm {

// One request. It lives in the frame of the coroutine that awaits it, so that starting one allocates nothing.
struct IoRequest {
  enum class Verb : uint8_t { kRead, kWrite, kSync, kAllocate };

  Verb verb;
  int file;                           // as add_file() named it
  int mode = 0;                       // FALLOC_FL_* of an allocate
  uint64_t offset = 0;                // of all but a sync
  uint64_t length = 0;                // of an allocate
  std::span<const iovec> buffers{};   // of a read or write, at most IOV_MAX
  ssize_t result = 0;                 // bytes or 0, or -errno
  std::coroutine_handle<> waiting{};  // goes on when the request has completed
  IoRequest* next = nullptr;          // in an engine's IoQueue

  void complete(ssize_t with) {
    result = with;
    waiting.resume();
  }
};

// Requests in order of arrival, linked through themselves.
class IoQueue {
 public:
  bool empty() const { return first_ == nullptr; }
  void push(IoRequest& request) {
    request.next = nullptr;
    (empty() ? first_ : last_->next) = &request;
    last_ = &request;
  }
  IoRequest& pop() {
    IoRequest& request = *first_;
    first_ = request.next;
    return request;
  }

 private:
  IoRequest* first_ = nullptr;
  IoRequest* last_ = nullptr;
};

class IoEngine {
 public:
  enum class Kind { kAuto, kIoUring, kThreads };

  // kAuto takes io_uring where the host allows it and threads, with a warning, where it does not. Throws Error when
  // what was asked for cannot be had.
  static std::unique_ptr<IoEngine> create(EventLoop& loop, Kind kind);
  IoEngine() = default;
  IoEngine(const IoEngine&) = delete;
  IoEngine& operator=(const IoEngine&) = delete;
  virtual ~IoEngine() = default;

  virtual const char* name() const = 0;
  // Makes an open file known; the answer names it in requests. The descriptor stays the caller's, and open until
  // remove_file(). Throws Error when there are too many.
  virtual int add_file(int fd) = 0;
  virtual void remove_file(int file) = 0;

  // What a coroutine awaits.
  class Operation {
   public:
    Operation(IoEngine& engine, const IoRequest& request) : engine_(engine), request_(request) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) {
      request_.waiting = waiting;
      engine_.start(request_);
    }
    ssize_t await_resume() const noexcept { return request_.result; }

   private:
    IoEngine& engine_;
    IoRequest request_;
  };

  Operation read(int file, uint64_t offset, std::span<const iovec> to) {
    return {*this, {.verb = IoRequest::Verb::kRead, .file = file, .offset = offset, .buffers = to}};
  }
  Operation write(int file, uint64_t offset, std::span<const iovec> from) {
    return {*this, {.verb = IoRequest::Verb::kWrite, .file = file, .offset = offset, .buffers = from}};
  }
  Operation sync_data(int file) { return {*this, {.verb = IoRequest::Verb::kSync, .file = file}}; }
  // fallocate(2) with FALLOC_FL_* as `mode`.
  Operation allocate(int file, int mode, uint64_t offset, uint64_t length) {
    return {*this,
            {.verb = IoRequest::Verb::kAllocate, .file = file, .mode = mode, .offset = offset, .length = length}};
  }

  // Takes a request on; it is completed later, never within this call. Loop thread only.
  virtual void start(IoRequest& request) = 0;
  // Waits until nothing is in flight, completing requests and whatever they start. On the loop's thread, or after the
  // loop has stopped; never from within a request's continuation.
  virtual void drain() = 0;
};

}  // namespace vmm
