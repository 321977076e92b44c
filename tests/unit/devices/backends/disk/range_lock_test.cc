// Turns on overlapping ranges.
#include "devices/backends/disk/range_lock.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "vmm/core/event_loop.h"

using namespace vmm;

namespace {

// What the holders of a range wait for.
struct Gate {
  std::coroutine_handle<> waiting;
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> handle) { waiting = handle; }
  void await_resume() const {}
  void open() { std::exchange(waiting, nullptr).resume(); }
};

Task<void> hold(RangeLock& lock, uint64_t first, uint64_t last, Gate& gate, char name, std::string& log) {
  const auto turn = co_await lock.acquire(first, last);
  log += name;
  co_await gate;
}

struct Fixture {
  void start(uint64_t first, uint64_t last, char name) {
    loop.spawn(hold(lock, first, last, gates[static_cast<size_t>(name - 'a')], name, log));
  }
  void end(char name) { gates[static_cast<size_t>(name - 'a')].open(); }

  EventLoop loop;
  RangeLock lock;
  std::vector<Gate> gates = std::vector<Gate>(4);
  std::string log;
};

}  // namespace

TEST_CASE("range lock: ranges that do not overlap are held together", "[backends][range-lock]") {
  Fixture f;
  f.start(0, 9, 'a');
  f.start(10, 19, 'b');
  CHECK(f.log == "ab");
  f.end('a');
  f.end('b');
}

TEST_CASE("range lock: one common number makes the later one wait", "[backends][range-lock]") {
  Fixture f;
  f.start(0, 10, 'a');
  f.start(10, 19, 'b');
  CHECK(f.log == "a");
  f.end('a');
  CHECK(f.log == "ab");
  f.end('b');
}

TEST_CASE("range lock: a waiter is not overtaken by those it overlaps", "[backends][range-lock]") {
  Fixture f;
  f.start(0, 5, 'a');
  f.start(0, 20, 'b');
  f.start(15, 20, 'c');
  CHECK(f.log == "a");
  f.end('a');
  CHECK(f.log == "ab");
  f.end('b');
  CHECK(f.log == "abc");
  f.end('c');
}

TEST_CASE("range lock: one release may wake several", "[backends][range-lock]") {
  Fixture f;
  f.start(0, 20, 'a');
  f.start(0, 5, 'b');
  f.start(10, 20, 'c');
  f.end('a');
  CHECK(f.log == "abc");
  f.end('c');
  f.end('b');
}
