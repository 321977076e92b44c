// The port that ends the machine with a status.
#include "devices/pc/debug_exit.h"

#include <catch2/catch.hpp>
#include <vector>

#include "tests/support/port_access.h"

using namespace vmm;
using namespace vmm::test;

TEST_CASE("debug exit: a write of v ends with (v << 1) | 1, whatever its width", "[debug-exit]") {
  std::vector<uint32_t> values;
  std::vector<uint8_t> statuses;
  DebugExit port([&](uint32_t value, uint8_t status) {
    values.push_back(value);
    statuses.push_back(status);
  });
  write_port<uint8_t>(port, 0, 0);
  write_port<uint8_t>(port, 0, 0x10);
  write_port<uint16_t>(port, 0, 0x1234);
  write_port<uint32_t>(port, 0, 0xffffffff);
  CHECK(values == std::vector<uint32_t>{0, 0x10, 0x1234, 0xffffffff});
  CHECK(statuses == std::vector<uint8_t>{1, 0x21, 0x69, 0xff});
}

TEST_CASE("debug exit: reads as zero and ends nothing", "[debug-exit]") {
  unsigned exits = 0;
  DebugExit port([&](uint32_t, uint8_t) { ++exits; });
  CHECK(read_port<uint32_t>(port, 0) == 0);
  CHECK(read_port<uint8_t>(port, 3) == 0);
  CHECK(exits == 0);
}
