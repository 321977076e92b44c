// The ARM machine's chips: a PL011 with any input and a host that takes as much as it likes, a clock whose time jumps,
// and GPIO lines that go up and down, with any register access to each.
#include "devices/arm/pl031.h"
#include "devices/arm/pl061.h"
#include "devices/pc/serial.h"
#include "tests/fuzz/fake_ends.h"
#include "tests/fuzz/fuzz_input.h"

void vmm::test::fuzz(FuzzInput& input) {
  EventLoop loop;
  LooseWire wire;
  FuzzStream stream;
  ArmSerial serial(wire, stream);
  Pl031::Time now(std::chrono::hours(24) * 365 * 55);
  std::chrono::seconds offset(0);
  Pl031 clock(loop, wire, offset, [&now] { return now; });
  Pl061 gpio(loop, wire);
  while (input.next_step()) {
    switch (input.take_below(10)) {
      case 0:
        stream.make_room(input.take_below(64));
        break;
      case 1: {
        const auto bytes = input.take_bytes(input.take_below(80));
        require(stream.send(bytes) <= bytes.size());
        break;
      }
      case 2:
        serial.send_break();
        break;
      case 3:
        now += std::chrono::seconds(input.take<int32_t>());
        break;
      case 4:
        loop.run_ready();
        break;
      case 5:
        gpio.set_input(input.take<uint8_t>(), input.take_bool());
        gpio.press(input.take<uint8_t>());
        break;
      case 6:
        access(input, clock, 0, 0x40);
        break;
      case 7:
        access(input, gpio, 0, Pl061::kSize);
        break;
      default:
        access(input, serial, 0, 0x60);
    }
  }
}
