// Messages as a driver and as devices send them.
#include "devices/arm/gic_v2m.h"

#include <catch2/catch.hpp>
#include <vector>

#include "tests/support/port_access.h"

using namespace vmm;
using namespace vmm::test;

namespace {

struct Fixture {
  std::vector<uint32_t> raised;
  GicV2m frame{64, 8, [this](uint32_t number) { raised.push_back(number); }};
};

}  // namespace

TEST_CASE("gic v2m: says which interrupts are its own", "[gic]") {
  Fixture f;
  CHECK(read_port<uint32_t>(f.frame, 0x008) == (64 << 16 | 8));
}

TEST_CASE("gic v2m: a write raises the interrupt, and none that is another's", "[gic]") {
  Fixture f;
  write_port<uint32_t>(f.frame, GicV2m::kSetSpi, 71);
  write_port<uint32_t>(f.frame, GicV2m::kSetSpi, 72);
  write_port<uint32_t>(f.frame, GicV2m::kSetSpi, 63);
  CHECK(f.raised == std::vector<uint32_t>{71});
  CHECK(f.frame.send(64));
  CHECK_FALSE(f.frame.send(0xffffffff));
  CHECK(f.raised == std::vector<uint32_t>{71, 64});
}
