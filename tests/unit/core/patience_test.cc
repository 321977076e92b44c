// When a loop waits for its turn, and how the kernel hears of it.
#include "vmm/core/patience.h"

#include <sched.h>

#include <catch2/catch.hpp>
#include <functional>
#include <thread>

#include "vmm/core/event_loop.h"
#include "vmm/core/fd.h"

using namespace vmm;

namespace {

// Turns with so many requests each, until the advice is `wanted`; 1000 when it never is.
size_t turns_until(Patience& patience, bool wanted, size_t served) {
  for (size_t count = 1; count < 1000; ++count) {
    patience.end_turn(served);
    if (patience.advised() == wanted) return count;
  }
  return 1000;
}

// In a thread of its own, which ends with what is done to it.
void in_thread(const std::function<void()>& work) { std::thread(work).join(); }

struct NoWork : Poller {
  bool poll() override { return false; }
};

}  // namespace

TEST_CASE("patience: a driver that asks one thing at a time is tried ever less often", "[core]") {
  Patience patience;
  size_t before = turns_until(patience, true, 1);
  CHECK(before > 1);
  CHECK(turns_until(patience, false, 1) < before);
  for (int i = 0; i < 8; ++i) {
    const size_t pause = turns_until(patience, true, 1);
    CHECK(pause >= before);
    CHECK(pause < 1000);
    CHECK(turns_until(patience, false, 1) < 10);
    before = pause;
  }
  CHECK(before > 100);
}

TEST_CASE("patience: it lasts for as long as requests gather", "[core]") {
  Patience patience;
  for (int i = 0; i < 8; ++i) {  // trials in vain, and then one that finds something
    turns_until(patience, true, 1);
    turns_until(patience, false, 1);
  }
  turns_until(patience, true, 1);
  CHECK(turns_until(patience, false, 3) == 1000);
  CHECK(turns_until(patience, false, 1) < 10);
  CHECK(turns_until(patience, true, 1) < 40);  // soon again
}

TEST_CASE("patience: a turn without a request says nothing", "[core]") {
  Patience patience;
  CHECK(turns_until(patience, true, 0) == 1000);
  turns_until(patience, true, 1);
  CHECK(turns_until(patience, false, 0) == 1000);
}

TEST_CASE("patience: it is a policy of the thread, and one that somebody chose stays", "[core]") {
  in_thread([] {
    ThreadPatience patience;
    patience.set(false);
    CHECK(::sched_getscheduler(0) == SCHED_OTHER);
    patience.set(true);
    CHECK(::sched_getscheduler(0) == SCHED_BATCH);
    int inherited = -1;
    in_thread([&] { inherited = ::sched_getscheduler(0); });
    CHECK(inherited == SCHED_BATCH);
    patience.set(false);
    CHECK(::sched_getscheduler(0) == SCHED_OTHER);
  });
  const int chosen = GENERATE(SCHED_IDLE, SCHED_BATCH);
  in_thread([chosen] {
    const sched_param none{};
    REQUIRE(::sched_setscheduler(0, chosen, &none) == 0);
    ThreadPatience patience;
    for (const bool patient : {true, false, true, false}) {
      patience.set(patient);
      CHECK(::sched_getscheduler(0) == chosen);
    }
  });
}

TEST_CASE("patience: a loop becomes patient by the requests of its pollers, and ends it for new threads", "[core]") {
  in_thread([] {
    EventLoop loop;
    NoWork poller;
    loop.add_poller(poller);
    const EventFd kick;
    int kicks = 0;
    int after_all = -1, after_end = -1;
    FdWatch watch(loop, kick.fd(), FdWatch::Event::kReadable, [&] {
      kick.drain();
      for (int i = 0; i < 3; ++i) loop.count_request();
      if (++kicks < 5000) {  // many in each turn
        watch.arm();
        kick.signal();
        return;
      }
      after_all = ::sched_getscheduler(0);
      loop.end_patience();
      after_end = ::sched_getscheduler(0);
      loop.stop();
    });
    watch.arm();
    kick.signal();
    loop.run();
    loop.remove_poller(poller);
    CHECK(after_all == SCHED_BATCH);
    CHECK(after_end == SCHED_OTHER);
  });
}
