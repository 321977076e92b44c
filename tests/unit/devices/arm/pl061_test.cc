// GPIO lines that go up and down.
#include "devices/arm/pl061.h"

#include <catch2/catch.hpp>

#include "tests/support/fake_irq_line.h"
#include "tests/support/port_access.h"
#include "tests/support/wait_until.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kAllData = 0x3fc, kDirection = 0x400, kSense = 0x404, kBoth = 0x408, kEvent = 0x40c, kMask = 0x410;
constexpr uint64_t kRaw = 0x414, kMasked = 0x418, kClear = 0x41c;
constexpr unsigned kButton = 3, kBit = 1 << kButton;

struct Fixture {
  uint32_t get(uint64_t offset) { return read_port<uint32_t>(gpio, offset); }
  // As Linux does, byte by byte.
  void set(uint64_t offset, uint8_t value) { write_port<uint8_t>(gpio, offset, value); }
  EventLoop loop;
  FakeIrqLine irq;
  Pl061 gpio{loop, irq};
};

}  // namespace

TEST_CASE("pl061: an input is seen, alone or among all", "[pl061]") {
  Fixture f;
  f.gpio.set_input(kButton, true);
  CHECK(f.get(kAllData) == kBit);
  CHECK(f.get(kBit << 2) == kBit);
  CHECK(f.get((0xff & ~kBit) << 2) == 0);
}

TEST_CASE("pl061: a register may be written as a byte or as a word", "[pl061]") {
  Fixture f;
  f.set(kMask, kBit);
  CHECK(f.get(kMask) == kBit);
  write_port<uint32_t>(f.gpio, kMask, 0xf1);
  CHECK(f.get(kMask) == 0xf1);
  CHECK(read_port<uint8_t>(f.gpio, kMask) == 0xf1);
}

TEST_CASE("pl061: a button is held long enough to be seen, and let go", "[pl061]") {
  Fixture f;
  f.set(kBoth, kBit);
  f.set(kMask, kBit);
  const auto start = std::chrono::steady_clock::now();
  f.gpio.press(kButton);
  CHECK(f.get(kAllData) == kBit);
  f.set(kClear, kBit);
  CHECK(wait_until(f.loop, [&f] { return f.get(kMasked) == kBit; }));
  CHECK(f.get(kAllData) == 0);
  CHECK(std::chrono::steady_clock::now() - start >= Pl061::kPress);
}

TEST_CASE("pl061: an input that went up and down leaves its edge", "[pl061]") {
  Fixture f;
  f.set(kBoth, kBit);
  f.set(kMask, kBit);
  f.gpio.set_input(kButton, true);
  CHECK(f.irq.level);
  f.set(kClear, kBit);
  CHECK_FALSE(f.irq.level);
  f.gpio.set_input(kButton, false);
  CHECK(f.get(kMasked) == kBit);
  CHECK(f.irq.rises == 2);
}

TEST_CASE("pl061: only the edge that is wanted counts", "[pl061]") {
  Fixture f;
  f.set(kEvent, kBit);
  f.gpio.set_input(kButton, true);
  CHECK(f.get(kRaw) == kBit);
  f.set(kClear, kBit);
  f.gpio.set_input(kButton, false);
  CHECK(f.get(kRaw) == 0);
  f.gpio.set_input(kButton, false);
  CHECK(f.get(kRaw) == 0);
}

TEST_CASE("pl061: a level interrupts for as long as it lasts", "[pl061]") {
  Fixture f;
  f.set(kSense, kBit);
  f.set(kEvent, kBit);
  f.set(kMask, kBit);
  f.gpio.set_input(kButton, true);
  CHECK(f.irq.level);
  f.set(kClear, kBit);
  CHECK(f.irq.level);
  f.gpio.set_input(kButton, false);
  CHECK_FALSE(f.irq.level);
}

TEST_CASE("pl061: an output reads as it was written, and no other line is touched", "[pl061]") {
  Fixture f;
  f.set(kDirection, 0x81);
  f.set(0x80 << 2, 0xff);
  CHECK(f.get(kAllData) == 0x80);
  f.set(kAllData, 0x01);
  CHECK(f.get(kAllData) == 0x01);
}

TEST_CASE("pl061: says which PrimeCell it is", "[pl061]") {
  Fixture f;
  uint64_t identity = 0;
  for (unsigned i = 0; i < 8; ++i) identity |= uint64_t{f.get(0xfe0 + 4 * i)} << (8 * i);
  CHECK(identity == 0xb105f00d00041061);
}
