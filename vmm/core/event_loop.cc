// The reactor is Boost.Asio's io_context over epoll; see event_loop.h. This is the only file that knows Asio.
#include "vmm/core/event_loop.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <utility>
#include <vector>

#include "vmm/core/cpu_pause.h"
#include "vmm/core/patience.h"
#include "vmm/core/turn_budget.h"

namespace vmm {

namespace asio = boost::asio;

namespace {

using Clock = std::chrono::steady_clock;

// Handlers of one turn. What keeps becoming ready, at a guest's will perhaps, must not keep the turn from ending.
constexpr size_t kTurn = 64;
// Turns in a row whose work pollers found, and then descriptors are asked as well: that is a system call.
constexpr unsigned kPolledTurns = 8;
// Work in bytes, as counted, beside which that call does not matter.
constexpr size_t kMuchWork = size_t{512} << 10;
// End-of-turn callbacks ask for others (a stream that was flushed has room, which is filled, and flushed). So often
// that belongs to the same turn.
constexpr unsigned kEndRounds = 4;

// Counters of this thread's loop: see turn_budget.h.
thread_local uint64_t turn = 0;
thread_local size_t work = 0;  // bytes, since descriptors were looked at
// About what it costs to fall asleep and be woken.
constexpr std::chrono::microseconds kMaxLook{32};
constexpr std::chrono::microseconds kFirstLook{4};

}  // namespace

uint64_t current_turn() { return turn; }

void count_work(size_t bytes) { work += bytes; }

struct EventLoop::Impl {
  size_t run_handlers();
  bool wait();
  bool poll();
  bool look(Clock::time_point until);
  bool rest();
  void post(std::function<void()> fn);

  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  std::vector<std::function<void()>> end_of_turn;
  std::vector<Poller*> pollers;
  Clock::duration look_for{};
  Patience patience;
  ThreadPatience thread_patience;
  size_t requests = 0;  // served in this turn
  std::atomic<size_t> posted{0};
  std::atomic<bool> stopped{false};
};

size_t EventLoop::Impl::run_handlers() {
  size_t ran = 0;
  while (ran < kTurn && context.poll_one() > 0) ++ran;
  return ran;
}

// Waits until there is something to do, or some of it has been done; true when that was pollers' work.
bool EventLoop::Impl::wait() {
  const bool pending = posted != 0 || !end_of_turn.empty();
  if (pollers.empty() && !pending) {
    context.run_one();
    return false;
  }
  // Before the time is asked for: that costs as much as a good part of a request. And although something is pending:
  // that may be so in every turn.
  if (poll()) return true;
  if (pending) return false;
  const auto began = Clock::now();
  const bool found = look(began + look_for);
  if (!found && (posted != 0 || !rest())) context.run_one();
  const auto waited = Clock::now() - began;
  if (waited > kMaxLook) {
    look_for = {};
  } else if (waited > look_for) {
    look_for = std::clamp<Clock::duration>(2 * look_for, kFirstLook, kMaxLook);
  }
  return found;
}

// Every one: none may wait for another that never rests.
bool EventLoop::Impl::poll() {
  return std::ranges::count_if(pollers, [](Poller* poller) { return poller->poll(); }) > 0;
}

bool EventLoop::Impl::look(Clock::time_point until) {
  while (posted == 0 && Clock::now() < until) {
    cpu_pause();
    if (poll()) return true;
  }
  return false;
}

bool EventLoop::Impl::rest() {
  return std::ranges::count_if(pollers, [](Poller* poller) { return poller->rest(); }) > 0;
}

void EventLoop::Impl::post(std::function<void()> fn) {
  ++posted;
  asio::post(context, [this, fn = std::move(fn)] {
    --posted;
    fn();
  });
}

EventLoop::EventLoop() : impl_(std::make_unique<Impl>()) {}
EventLoop::~EventLoop() = default;

void EventLoop::run() {
  unsigned polled = 0;  // turns in a row
  while (!impl_->stopped) {
    if (!impl_->wait() || impl_->posted != 0 || ++polled == kPolledTurns || work >= kMuchWork) {
      work = 0;
      impl_->run_handlers();
      polled = 0;
    }
    end_turn();
  }
  impl_->stopped = false;
}

void EventLoop::stop() {
  impl_->stopped = true;
  post([] {});
}

size_t EventLoop::run_ready() {
  size_t ran = 0;
  for (;;) {
    const size_t now = impl_->run_handlers();
    const bool ends = !impl_->end_of_turn.empty();
    end_turn();
    ran += now;
    if (now == 0 && !ends && !impl_->poll() && !impl_->rest()) return ran;
  }
}

void EventLoop::end_turn() {
  for (unsigned round = 0; round < kEndRounds && !impl_->end_of_turn.empty(); ++round) {
    for (auto& fn : std::exchange(impl_->end_of_turn, {})) fn();
  }
  ++turn;
  impl_->patience.end_turn(std::exchange(impl_->requests, 0));
  impl_->thread_patience.set(impl_->patience.advised());
}

void EventLoop::post(std::function<void()> fn) { impl_->post(std::move(fn)); }

void EventLoop::add_poller(Poller& poller) { impl_->pollers.push_back(&poller); }

void EventLoop::remove_poller(Poller& poller) { std::erase(impl_->pollers, &poller); }

void EventLoop::count_request() { ++impl_->requests; }

void EventLoop::end_patience() { impl_->thread_patience.set(false); }

void EventLoop::at_end_of_turn(std::function<void()> fn) { impl_->end_of_turn.push_back(std::move(fn)); }

namespace {

// A coroutine nobody awaits: it owns the task and frees itself at the end.
struct Detached {
  struct promise_type {
    Detached get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  };
};

Detached run_detached(Task<void> task, std::function<void()> on_done) {
  co_await task;
  if (on_done) on_done();
}

}  // namespace

void EventLoop::spawn(Task<void> task, std::function<void()> on_done) {
  run_detached(std::move(task), std::move(on_done));
}

struct FdWatch::Impl : std::enable_shared_from_this<FdWatch::Impl> {
  Impl(asio::io_context& context, int fd, Event watched, std::function<void()> callback)
      : descriptor(context), pause(context), event(watched), on_ready(std::move(callback)) {
    boost::system::error_code error;
    // A duplicate, because epoll takes a descriptor once and a socket may be watched both ways. epoll refuses regular
    // files and the like: those never block, so they count as ready. With no descriptor left for the duplicate nothing
    // is known: then it counts as ready a few times a second.
    const int own = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    descriptor.assign(own, error);
    always_ready = static_cast<bool>(error);
    if (always_ready && own >= 0) ::close(own);
    unknown = own < 0;
  }

  void fire(uint64_t armed_as, bool aborted) {
    if (aborted || !armed || generation != armed_as) return;
    armed = false;
    on_ready();
  }

  asio::posix::stream_descriptor descriptor;
  asio::steady_timer pause;
  Event event;
  std::function<void()> on_ready;
  bool always_ready = false;
  bool unknown = false;
  bool armed = false;
  uint64_t generation = 0;
};

FdWatch::FdWatch(EventLoop& loop, int fd, Event event, std::function<void()> on_ready)
    : impl_(std::make_shared<Impl>(loop.impl_->context, fd, event, std::move(on_ready))) {}

FdWatch::~FdWatch() {
  if (impl_) disarm();
}

void FdWatch::arm() {
  if (impl_->armed) return;
  impl_->armed = true;
  const uint64_t armed_as = ++impl_->generation;
  auto fire = [weak = impl_->weak_from_this(), armed_as](const boost::system::error_code& error) {
    // Held for the call: on_ready may destroy the watch.
    if (const auto self = weak.lock()) self->fire(armed_as, error == asio::error::operation_aborted);
  };
  if (impl_->unknown) {
    impl_->pause.expires_after(std::chrono::milliseconds(100));
    impl_->pause.async_wait(std::move(fire));
  } else if (impl_->always_ready) {
    asio::post(impl_->descriptor.get_executor(), [fire] { fire({}); });
  } else {
    impl_->descriptor.async_wait(impl_->event == Event::kReadable ? asio::posix::descriptor_base::wait_read
                                                                  : asio::posix::descriptor_base::wait_write,
                                 std::move(fire));
  }
}

void FdWatch::disarm() {
  if (!impl_->armed) return;
  impl_->armed = false;
  impl_->pause.cancel();
  if (!impl_->always_ready) impl_->descriptor.cancel();
}

bool FdWatch::armed() const { return impl_->armed; }

struct Timer::Impl : std::enable_shared_from_this<Timer::Impl> {
  Impl(asio::io_context& context, std::function<void()> callback) : timer(context), on_expiry(std::move(callback)) {}

  asio::steady_timer timer;
  std::function<void()> on_expiry;
  bool running = false;
  uint64_t generation = 0;
};

Timer::Timer(EventLoop& loop, std::function<void()> on_expiry)
    : impl_(std::make_shared<Impl>(loop.impl_->context, std::move(on_expiry))) {}

Timer::~Timer() {
  if (impl_) cancel();
}

void Timer::start(std::chrono::nanoseconds delay) {
  impl_->running = true;
  const uint64_t started_as = ++impl_->generation;
  impl_->timer.expires_after(delay);
  impl_->timer.async_wait([weak = impl_->weak_from_this(), started_as](const boost::system::error_code&) {
    const auto self = weak.lock();
    if (!self || !self->running || self->generation != started_as) return;
    self->running = false;
    self->on_expiry();
  });
}

void Timer::cancel() {
  impl_->running = false;
  impl_->timer.cancel();
}

bool Timer::running() const { return impl_->running; }

}  // namespace vmm
