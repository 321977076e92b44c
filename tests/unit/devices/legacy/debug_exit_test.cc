// The port that ends the machine with a status.
#include "devices/legacy/debug_exit.h"

#include <catch2/catch.hpp>
#include <vector>

#include "tests/support/port_access.h"

using namespace vmm;
using namespace vmm::test;

TEST_CASE("debug exit: a write of v ends with (v << 1) | 1, whatever its width", "[debug-exit]") {
  std::vector<uint32_t> statuses;
  DebugExit port([&](uint32_t status) { statuses.push_back(status); });
  write_port<uint8_t>(port, 0, 0);
  write_port<uint8_t>(port, 0, 0x10);
  write_port<uint16_t>(port, 0, 0x1234);
  write_port<uint32_t>(port, 0, 0xffffffff);
  CHECK(statuses == std::vector<uint32_t>{1, 0x21, 0x2469, 0xffffffff});
}

TEST_CASE("debug exit: reads as zero and ends nothing", "[debug-exit]") {
  unsigned exits = 0;
  DebugExit port([&](uint32_t) { ++exits; });
  CHECK(read_port<uint32_t>(port, 0) == 0);
  CHECK(read_port<uint8_t>(port, 3) == 0);
  CHECK(exits == 0);
}
