// The ARM clock with the host's time in the test's hands.
#include "devices/arm/pl031.h"

#include <catch2/catch.hpp>

#include "tests/support/fake_irq_line.h"
#include "tests/support/port_access.h"
#include "tests/support/wait_until.h"

using namespace vmm;
using namespace vmm::test;
using namespace std::chrono_literals;

namespace {

constexpr uint64_t kTime = 0, kMatch = 4, kLoad = 8, kControl = 0xc, kMask = 0x10, kRaw = 0x14, kMasked = 0x18;
constexpr uint64_t kClear = 0x1c;

struct Fixture {
  uint32_t get(uint64_t reg) { return read_port<uint32_t>(rtc, reg); }
  void set(uint64_t reg, uint32_t value) { write_port<uint32_t>(rtc, reg, value); }

  EventLoop loop;
  FakeIrqLine irq;
  Pl031::Time now{1704067198s};
  std::chrono::seconds offset{0};
  Pl031 rtc{loop, irq, offset, [this] { return now; }};
};

}  // namespace

TEST_CASE("pl031: shows the host's time, and it goes on", "[pl031]") {
  Fixture f;
  CHECK(f.get(kTime) == 1704067198);
  f.now += 5s;
  CHECK(f.get(kTime) == 1704067203);
  CHECK(f.get(kControl) == 1);
}

TEST_CASE("pl031: a clock that was set stays apart from the host's, over a reset too", "[pl031]") {
  Fixture f;
  f.set(kLoad, 1000);
  CHECK(f.get(kTime) == 1000);
  f.now += 10s;
  CHECK(f.get(kTime) == 1010);
  FakeIrqLine irq;
  Pl031 next(f.loop, irq, f.offset, [&f] { return f.now; });
  CHECK(read_port<uint32_t>(next, kTime) == 1010);
}

TEST_CASE("pl031: the alarm comes when its second does, and stays until it is cleared", "[pl031]") {
  Fixture f;
  f.set(kMatch, f.get(kTime) + 2);
  f.set(kMask, 1);
  f.now += 1s;
  CHECK(f.get(kRaw) == 0);
  f.now += 1s;
  CHECK(f.get(kRaw) == 1);
  CHECK(f.get(kMasked) == 1);
  CHECK(f.irq.level);
  f.set(kClear, 1);
  CHECK_FALSE(f.irq.level);
  f.now += 10s;
  CHECK(f.get(kRaw) == 0);
}

TEST_CASE("pl031: a masked alarm raises no wire", "[pl031]") {
  Fixture f;
  f.set(kMatch, f.get(kTime));
  CHECK(f.get(kRaw) == 1);
  CHECK(f.get(kMasked) == 0);
  CHECK_FALSE(f.irq.level);
  f.set(kMask, 1);
  CHECK(f.irq.level);
}

TEST_CASE("pl031: nobody has to look for the alarm to come", "[pl031]") {
  Fixture f;
  f.set(kMatch, f.get(kTime) + 1);
  f.set(kMask, 1);
  f.now += 1s;
  CHECK(wait_until(f.loop, [&f] { return f.irq.level; }));
}

TEST_CASE("pl031: an alarm in the past does not come", "[pl031]") {
  Fixture f;
  f.set(kMatch, f.get(kTime) - 5);
  f.set(kMask, 1);
  CHECK(f.get(kRaw) == 0);
  CHECK_FALSE(f.irq.level);
}

TEST_CASE("pl031: says which PrimeCell it is", "[pl031]") {
  Fixture f;
  uint64_t identity = 0;
  for (unsigned i = 0; i < 8; ++i) identity |= uint64_t{f.get(0xfe0 + 4 * i)} << (8 * i);
  CHECK(identity == 0xb105f00d00041031);
}
