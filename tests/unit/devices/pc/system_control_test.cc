// Port 0x92: a reset on the edge, and the gate of address line 20 as it was written.
#include "devices/pc/system_control.h"

#include <catch2/catch.hpp>

#include "tests/support/port_access.h"

using namespace vmm;
using namespace vmm::test;

TEST_CASE("system control: bit 0 resets when it rises, and only then", "[pc]") {
  int resets = 0;
  SystemControl port([&] { ++resets; });
  write_port<uint8_t>(port, 0, SystemControl::A20);
  CHECK(resets == 0);
  write_port<uint8_t>(port, 0, SystemControl::FAST_RESET);
  write_port<uint8_t>(port, 0, SystemControl::FAST_RESET | SystemControl::A20);
  CHECK(resets == 1);
  write_port<uint8_t>(port, 0, 0);
  write_port<uint8_t>(port, 0, 0xff);
  CHECK(resets == 2);
}

TEST_CASE("system control: the gate of address line 20 is open, and reads as it was written", "[pc]") {
  SystemControl port([] {});
  CHECK(read_port<uint8_t>(port, 0) == SystemControl::A20);
  write_port<uint8_t>(port, 0, 0xfc);
  CHECK(read_port<uint8_t>(port, 0) == 0);
}
