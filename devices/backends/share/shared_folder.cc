// The thread of a shared directory; see shared_folder.h.
#include "devices/backends/share/shared_folder.h"

#include <fmt/core.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <system_error>

#include "devices/backends/share/caller.h"
#include "vmm/core/error.h"

namespace vmm {

namespace {

// Each file that the guest knows keeps about a kilobyte of the host kernel's memory.
constexpr rlim_t kMaxDescriptors = 1 << 19;

}  // namespace

SharedFolder::SharedFolder(EventLoop& loop, const ShareConfig& config, size_t max_files)
    : loop_(loop),
      config_(config),
      server_(SharedTree(config.path, max_files, Ownership::of_process()), config.read_only) {
  // The thread inherits this mask: signals are for the threads that expect them.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  struct Restore {
    const sigset_t& mask;
    ~Restore() { ::pthread_sigmask(SIG_SETMASK, &mask, nullptr); }
  } restore{before};
  try {
    thread_ = std::thread([this] { work(); });
  } catch (const std::system_error& error) {
    throw Error(fmt::format("cannot start a thread for '{}': {}", config.path, error.what()), "raise ulimit -u");
  }
  ::pthread_setname_np(thread_.native_handle(), "share");
}

SharedFolder::~SharedFolder() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_arrived_.notify_one();
  thread_.join();
}

std::string SharedFolder::describe() const { return config_.path + (config_.read_only ? " (ro)" : ""); }

size_t SharedFolder::descriptor_budget(size_t shares) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  // Half for files, an eighth for open ones, and the rest for everything else.
  return std::min(limit.rlim_cur, kMaxDescriptors) / 2 / std::max<size_t>(shares, 1);
}

Task<size_t> SharedFolder::answer(std::span<const iovec> request, std::span<const iovec> reply) {
  co_return co_await Request(*this, request, reply);
}

void SharedFolder::reset() { take(nullptr); }

void SharedFolder::Request::await_suspend(std::coroutine_handle<> waiting) {
  waiting_ = waiting;
  folder_.take(this);
}

void SharedFolder::take(Request* request) {
  {
    const std::lock_guard lock(mutex_);
    todo_.push_back(request);
  }
  work_arrived_.notify_one();
}

void SharedFolder::work() {
  // What mode a file gets is the guest's decision. Our umask is the process's unless we part with it.
  if (::unshare(CLONE_FS) == 0) ::umask(0);
  drop_needless_capabilities();
  std::unique_lock lock(mutex_);
  for (;;) {
    work_arrived_.wait(lock, [this] { return stopping_ || !todo_.empty(); });
    if (todo_.empty()) return;
    Request* const request = todo_.front();
    todo_.pop_front();
    lock.unlock();
    if (request == nullptr) {
      server_.reset();
    } else {
      request->written_ = server_.answer(request->request_, request->reply_);
      loop_.post([waiting = request->waiting_] { waiting.resume(); });
    }
    lock.lock();
  }
}

}  // namespace vmm
