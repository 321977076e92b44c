// The keyboard controller without a keyboard: the reset line, and probes that come to an end.
#include "devices/pc/i8042.h"

#include <catch2/catch.hpp>
#include <cstdint>

#include "tests/support/port_access.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kData = 0, kCommand = 4;
constexpr unsigned kOutputFull = 0x01, kInputFull = 0x02, kNotLocked = 0x10, kAuxFull = 0x20, kTimeout = 0x40;

struct Fixture {
  unsigned status() { return read_port(controller, kCommand); }
  unsigned data() { return read_port(controller, kData); }
  void command(uint8_t value) { write_port(controller, kCommand, value); }
  void command(uint8_t value, uint8_t parameter) {
    command(value);
    write_port(controller, kData, parameter);
  }

  unsigned resets = 0;
  I8042 controller{[this] { ++resets; }};
};

}  // namespace

TEST_CASE("i8042: command 0xfe resets the machine", "[i8042]") {
  Fixture f;
  f.command(0xfe);
  CHECK(f.resets == 1);
}

TEST_CASE("i8042: pulses on the other lines do not reset", "[i8042]") {
  Fixture f;
  f.command(0xff);
  f.command(0xfd);
  CHECK(f.resets == 0);
}

TEST_CASE("i8042: the output port resets the machine when its lowest bit falls", "[i8042]") {
  Fixture f;
  f.command(0xd1, 0xdf);  // how A20 is opened
  CHECK(f.resets == 0);
  f.command(0xd1, 0xfe);
  CHECK(f.resets == 1);
}

TEST_CASE("i8042: the reset may take the controller down with it", "[i8042]") {
  std::unique_ptr<I8042> controller;
  uint64_t status = 0;
  controller = std::make_unique<I8042>([&] { status = read_port(*controller, kCommand); });
  write_port(*controller, kCommand, uint8_t{0xfe});
  CHECK((status & kOutputFull) == 0);
}

TEST_CASE("i8042: Linux's probe finds a working controller, a keyboard port and no auxiliary port", "[i8042]") {
  Fixture f;
  CHECK((f.status() & (kOutputFull | kInputFull)) == 0);
  CHECK((f.status() & kNotLocked) != 0);
  f.command(0xaa);
  CHECK(f.data() == 0x55);
  f.command(0x20);
  const unsigned configuration = f.data();
  f.command(0x60, static_cast<uint8_t>(configuration | 0x10));
  f.command(0xd3, 0x5a);  // the echo of an auxiliary port would carry its mark
  CHECK((f.status() & (kOutputFull | kAuxFull)) == kOutputFull);
  CHECK(f.data() == 0x5a);
  f.command(0xa9);
  CHECK(f.data() == 0x01);
  f.command(0xab);
  CHECK(f.data() == 0x00);
}

TEST_CASE("i8042: a command for a device that is not there is answered at once", "[i8042]") {
  Fixture f;
  write_port(f.controller, kData, uint8_t{0xf2});
  CHECK((f.status() & (kOutputFull | kTimeout)) == (kOutputFull | kTimeout));
  CHECK(f.data() == 0xfe);
  CHECK((f.status() & (kOutputFull | kTimeout)) == 0);
  f.command(0xd4, 0xff);
  CHECK(f.data() == 0xfe);
}

TEST_CASE("i8042: the configuration byte is kept, and follows the clock commands", "[i8042]") {
  const auto [command, configuration] =
      GENERATE(table<uint8_t, unsigned>({{0xad, 0x55}, {0xae, 0x45}, {0xa7, 0x65}, {0xa8, 0x45}}));
  Fixture f;
  f.command(0x60, 0x45);
  f.command(command);
  f.command(0x20);
  CHECK(f.data() == configuration);
}

TEST_CASE("i8042: every command with every parameter leaves a buffer that one read empties", "[i8042]") {
  Fixture f;
  unsigned still_full = 0;
  for (unsigned command = 0; command < 0x100; ++command) {
    for (unsigned parameter = 0; parameter < 0x100; ++parameter) {
      f.command(static_cast<uint8_t>(command), static_cast<uint8_t>(parameter));
      f.data();
      still_full += f.status() & (kOutputFull | kInputFull);
    }
  }
  CHECK(still_full == 0);
  f.command(0xaa);
  CHECK(f.data() == 0x55);
}

TEST_CASE("i8042: the ports between are not its own, and wide accesses are bounded", "[i8042]") {
  Fixture f;
  f.command(0xaa);
  CHECK(read_port<uint64_t>(f.controller, 0) == 0xffffff14ffffff55);
  write_port<uint64_t>(f.controller, 0, UINT64_MAX);
  CHECK(f.resets == 0);
}
