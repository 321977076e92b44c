// Turns, watches, timers and tasks on one loop.
#include "vmm/core/event_loop.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <climits>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "tests/support/deadline.h"
#include "tests/support/descriptors.h"
#include "tests/support/wait_until.h"
#include "vmm/core/fd.h"

using namespace vmm;
using namespace vmm::test;

namespace {

Task<int> answer() { co_return 42; }
Task<void> ask(int& out) { out = co_await answer(); }

struct CountedWork : Poller {
  explicit CountedWork(int amount) : left(amount) {}
  bool poll() override { return left > 0 && left-- > 0; }
  bool rest() override {
    left_at_rest = left;
    return false;
  }
  int left;
  int left_at_rest = -1;
};

}  // namespace

TEST_CASE("event loop: end-of-turn callbacks run once, after what was ready", "[core]") {
  EventLoop loop;
  std::string order;
  loop.post([&] {
    loop.at_end_of_turn([&] { order += "end "; });
    order += "first ";
  });
  loop.post([&] { order += "second "; });
  loop.run_ready();
  CHECK(order == "first second end ");
}

TEST_CASE("event loop: a turn ends although its handlers go on posting", "[core]") {
  EventLoop loop;
  int calls = 0;
  const std::function<void()> again = [&] {
    if (++calls < 1000) loop.post(again);  // an end, for a loop whose turn would wait for it
  };
  loop.post(again);
  int calls_in_turn = 0;
  loop.at_end_of_turn([&] { calls_in_turn = calls; });
  loop.run_ready();
  CHECK(calls_in_turn > 0);
  CHECK(calls_in_turn < 1000);
}

TEST_CASE("event loop: everything is polled until all have nothing to do, and only then rests", "[core]") {
  EventLoop loop;
  CountedWork much(30);
  CountedWork little(2);
  loop.add_poller(much);
  loop.add_poller(little);
  loop.run_ready();
  CHECK(much.left_at_rest == 0);
  CHECK(little.left_at_rest == 0);
}

TEST_CASE("event loop: descriptors have their turn although pollers always find work", "[core]") {
  EventLoop loop;
  CountedWork endless(INT_MAX);
  loop.add_poller(endless);
  const EventFd event;
  FdWatch watch(loop, event.fd(), FdWatch::Event::kReadable, [&] { loop.stop(); });
  watch.arm();
  event.signal();
  loop.run();
  CHECK(INT_MAX - endless.left < 100);
}

TEST_CASE("event loop: a task awaits another and reports its end", "[core]") {
  EventLoop loop;
  int got = 0;
  bool done = false;
  loop.spawn(ask(got), [&] { done = true; });
  CHECK(got == 42);
  CHECK(done);
}

TEST_CASE("event loop: stop from another thread ends run", "[core]") {
  const Deadline deadline(std::chrono::seconds(30));
  EventLoop loop;
  std::atomic<bool> asked = false;
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // it sleeps by now, as a rule
    asked = true;
    loop.stop();
  });
  loop.run();
  CHECK(asked);
  other.join();
}

TEST_CASE("watch: calls once for each arming", "[core]") {
  EventLoop loop;
  const EventFd event;
  int calls = 0;
  FdWatch watch(loop, event.fd(), FdWatch::Event::kReadable, [&] { ++calls; });
  event.signal();
  loop.run_ready();
  CHECK(calls == 0);
  watch.arm();
  loop.run_ready();
  loop.run_ready();
  CHECK(calls == 1);
  watch.arm();
  loop.run_ready();
  CHECK(calls == 2);
}

TEST_CASE("watch: disarmed and armed again it calls once", "[core]") {
  EventLoop loop;
  const EventFd event;
  int calls = 0;
  FdWatch watch(loop, event.fd(), FdWatch::Event::kReadable, [&] { ++calls; });
  watch.arm();
  watch.disarm();
  watch.arm();
  event.signal();
  loop.run_ready();
  CHECK(calls == 1);
}

TEST_CASE("watch: a regular file counts as ready", "[core]") {
  EventLoop loop;
  const UniqueFd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  int calls = 0;
  FdWatch watch(loop, file.get(), FdWatch::Event::kReadable, [&] { ++calls; });
  watch.arm();
  loop.run_ready();
  CHECK(calls == 1);
}

TEST_CASE("timer: cancelled it does not call, restarted it calls once", "[core]") {
  EventLoop loop;
  int calls = 0;
  Timer timer(loop, [&] {
    ++calls;
    loop.stop();
  });
  timer.start(std::chrono::milliseconds(1));
  timer.cancel();
  timer.start(std::chrono::milliseconds(1));
  loop.run();
  loop.run_ready();
  CHECK(calls == 1);
}

TEST_CASE("watch: with no descriptor left it is looked at a few times a second, not in a spin", "[core]") {
  EventLoop loop;
  const EventFd event;
  const FdWatch first(loop, event.fd(), FdWatch::Event::kReadable, [] {});  // the loop's own descriptors are there
  unsigned calls = 0;
  std::optional<FdWatch> watch;
  {
    const NoDescriptorsLeft none;
    watch.emplace(loop, event.fd(), FdWatch::Event::kReadable, [&] {
      ++calls;
      watch->arm();
    });
  }
  watch->arm();
  loop.run_ready();
  CHECK(calls == 0);
  CHECK(wait_until(loop, [&] { return calls == 1; }));
  CHECK(watch->armed());
}

TEST_CASE("event loop: end-of-turn callbacks that go on asking for others do not keep a turn from ending", "[core]") {
  EventLoop loop;
  unsigned calls = 0;
  const std::function<void()> again = [&] {
    ++calls;
    loop.at_end_of_turn(again);
  };
  again();
  loop.post([&] { loop.stop(); });
  loop.run();
  CHECK(calls < 20);
}

TEST_CASE("event loop: what is left of a turn's end is done in the next, which does not wait", "[core]") {
  EventLoop loop;
  unsigned calls = 0;
  const std::function<void()> again = [&] { ++calls < 50 ? loop.at_end_of_turn(again) : loop.stop(); };
  loop.at_end_of_turn(again);
  loop.run();
  CHECK(calls == 50);
}

TEST_CASE("event loop: pollers have their turn although something is always posted", "[core]") {
  EventLoop loop;
  CountedWork work(1);
  loop.add_poller(work);
  unsigned turns = 0;
  const std::function<void()> again = [&] { work.left == 0 || ++turns == 1000 ? loop.stop() : loop.post(again); };
  loop.post(again);
  loop.run();
  CHECK(turns < 100);
}
