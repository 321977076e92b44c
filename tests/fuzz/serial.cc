// A 16550A with any register access, any input, and a host that takes as much as it likes.
#include "devices/pc/serial.h"

#include "tests/fuzz/fake_ends.h"
#include "tests/fuzz/fuzz_input.h"

void vmm::test::fuzz(FuzzInput& input) {
  LooseWire wire;
  FuzzStream stream;
  Serial serial(wire, stream);
  while (input.next_step()) {
    switch (input.take_below(6)) {
      case 0:
        stream.make_room(input.take_below(32));
        break;
      case 1: {
        const auto bytes = input.take_bytes(input.take_below(40));
        require(stream.send(bytes) <= bytes.size());
        break;
      }
      case 2:
        serial.send_break();
        break;
      default:
        access(input, serial, 0, Serial::kPorts);
    }
  }
}
