// A limit that is held does not run.
#include "vmm/control/session/time_limit.h"

#include <catch2/catch.hpp>

#include "tests/support/wait_until.h"

using namespace vmm;
using namespace vmm::test;
using std::chrono::milliseconds;

namespace {

struct Fixture {
  void wait(milliseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    wait_until(loop, [end] { return std::chrono::steady_clock::now() >= end; });
  }

  EventLoop loop;
  int expired = 0;
  TimeLimit limit{loop, [this] { ++expired; }};
};

}  // namespace

TEST_CASE("time limit: it expires once, unless it is cancelled", "[time]") {
  Fixture f;
  f.limit.start(milliseconds(5));
  CHECK(wait_until(f.loop, [&] { return f.expired == 1; }));
  f.limit.start(milliseconds(5));
  f.limit.cancel();
  f.wait(milliseconds(20));
  f.limit.hold();
  f.limit.go();
  f.wait(milliseconds(20));
  CHECK(f.expired == 1);
}

TEST_CASE("time limit: one that has expired does not expire again for being held", "[time]") {
  Fixture f;
  f.limit.start(milliseconds(1));
  CHECK(wait_until(f.loop, [&] { return f.expired == 1; }));
  f.limit.hold();
  f.limit.go();
  f.wait(milliseconds(20));
  CHECK(f.expired == 1);
}

TEST_CASE("time limit: held, it keeps what is left", "[time]") {
  Fixture f;
  f.limit.start(milliseconds(30));
  f.limit.hold();
  f.limit.hold();
  f.wait(milliseconds(60));
  CHECK(f.expired == 0);
  f.limit.go();
  CHECK(wait_until(f.loop, [&] { return f.expired == 1; }));
  f.limit.hold();
  f.limit.start(milliseconds(1));
  f.wait(milliseconds(20));
  CHECK(f.expired == 1);
  f.limit.go();
  CHECK(wait_until(f.loop, [&] { return f.expired == 2; }));
}

TEST_CASE("time limit: what was cancelled or never started does not go on", "[time]") {
  Fixture f;
  f.limit.hold();
  f.limit.go();
  f.limit.start(milliseconds(5));
  f.limit.hold();
  f.limit.cancel();
  f.limit.go();
  f.wait(milliseconds(20));
  CHECK(f.expired == 0);
}
