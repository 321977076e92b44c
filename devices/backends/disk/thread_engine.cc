// The threads and their system calls; see thread_engine.h.
#include "devices/backends/disk/thread_engine.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

#include "vmm/core/error.h"

namespace vmm {

namespace {

constexpr size_t kThreads = 4;

ssize_t call(const IoRequest& request) {
  const auto offset = static_cast<off_t>(request.offset);
  const auto count = static_cast<int>(request.buffers.size());
  switch (request.verb) {
    case IoRequest::Verb::kRead:
      return ::preadv(request.file, request.buffers.data(), count, offset);
    case IoRequest::Verb::kWrite:
      return ::pwritev(request.file, request.buffers.data(), count, offset);
    case IoRequest::Verb::kSync:
      return ::fdatasync(request.file);
    case IoRequest::Verb::kAllocate:
      return ::fallocate(request.file, request.mode, offset, static_cast<off_t>(request.length));
  }
  return -1;
}

// The result as io_uring gives it: -errno on failure.
ssize_t perform(const IoRequest& request) {
  ssize_t result = 0;
  do {
    result = call(request);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}

}  // namespace

ThreadEngine::Crew::Crew(ThreadEngine& engine) : engine_(engine) {
  try {
    start_threads();
  } catch (const std::system_error& error) {
    join_threads();
    throw Error(std::string("cannot start a thread for disk I/O: ") + error.what(), "raise ulimit -u");
  }
}

ThreadEngine::Crew::~Crew() { join_threads(); }

void ThreadEngine::Crew::start_threads() {
  // The threads inherit this mask: signals are for the threads that expect them.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  struct Restore {
    const sigset_t& mask;
    ~Restore() { ::pthread_sigmask(SIG_SETMASK, &mask, nullptr); }
  } restore{before};
  while (threads_.size() < kThreads) {
    threads_.emplace_back([this] { work(); });
    ::pthread_setname_np(threads_.back().native_handle(), "disk-io");
  }
}

void ThreadEngine::Crew::join_threads() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_arrived_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadEngine::Crew::take(IoRequest& request) {
  {
    const std::lock_guard lock(mutex_);
    todo_.push(request);
  }
  work_arrived_.notify_one();
}

void ThreadEngine::Crew::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_arrived_.wait(lock, [this] { return stopping_ || !todo_.empty(); });
    if (todo_.empty()) return;
    IoRequest& request = todo_.pop();
    lock.unlock();
    request.result = perform(request);
    engine_.finished(request);
    lock.lock();
  }
}

ThreadEngine::ThreadEngine(EventLoop& loop)
    : done_watch_(loop, done_event_.fd(), FdWatch::Event::kReadable, [this] {
        done_event_.drain();
        deliver();
        done_watch_.arm();
      }) {
  done_watch_.arm();
}

ThreadEngine::~ThreadEngine() { drain(); }

int ThreadEngine::add_file(int fd) {
  crews_.emplace(fd, std::make_unique<Crew>(*this));
  return fd;
}

void ThreadEngine::remove_file(int file) { crews_.erase(file); }

void ThreadEngine::start(IoRequest& request) {
  ++in_flight_;
  crews_.at(request.file)->take(request);
}

void ThreadEngine::finished(IoRequest& request) {
  const std::lock_guard lock(mutex_);
  const bool first = done_.empty();
  done_.push(request);
  if (!first) return;  // the loop has been told and not come yet
  done_event_.signal();
  work_done_.notify_one();
}

void ThreadEngine::deliver() {
  IoQueue done;
  {
    const std::lock_guard lock(mutex_);
    done = std::exchange(done_, {});
  }
  while (!done.empty()) {
    IoRequest& request = done.pop();
    --in_flight_;
    request.complete(request.result);
  }
}

void ThreadEngine::drain() {
  while (in_flight_ > 0) {
    {
      std::unique_lock lock(mutex_);
      work_done_.wait(lock, [this] { return !done_.empty(); });
    }
    deliver();
  }
}

}  // namespace vmm
