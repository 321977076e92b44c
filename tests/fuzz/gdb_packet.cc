// What comes to the gdb port: any bytes, cut at will, and events of the machine between them. Memory that breakpoints
// were in is as before when gdb has left.
#include "vmm/control/gdb/gdb_packet.h"

#include "tests/fuzz/fuzz_input.h"
#include "tests/support/fake_gdb_target.h"
#include "vmm/control/gdb/gdb_stub.h"

namespace {

using namespace vmm;
using namespace vmm::test;

// Of requests that mean something, so that the fuzzer does not have to find checksums.
std::string payload(FuzzInput& input) {
  static constexpr std::array<std::string_view, 12> kBeginnings{"",    "Z0,", "z0,",     "Z2,",   "z2,",    "m",
                                                                "M0,", "X",   "vCont;s", "vCont", "qXfer:", "Hg"};
  std::string text(kBeginnings[input.take_below(kBeginnings.size())]);
  const auto rest = input.take_bytes(input.take_below(64));
  return text + std::string(reinterpret_cast<const char*>(rest.data()), rest.size());
}

void obey(GdbStub& stub, const std::vector<GdbInput>& inputs) {
  for (const GdbInput& input : inputs) {
    require(input.payload.size() <= GdbPacketReader::kMaxPayload);
    if (input.kind == GdbInput::Kind::kPacket) stub.packet(input.payload);
    if (input.kind == GdbInput::Kind::kInterrupt) stub.interrupt();
  }
}

void meet(FuzzInput& input, FakeGdbTarget& target, GdbStub& stub) {
  const size_t count = input.take_below(4);
  for (size_t i = 0; i < count; ++i) {
    target.events.push_back({static_cast<unsigned>(input.take_below(target.cpus())),
                             {.breakpoint = input.take_bool(),
                              .pc = input.take<uint32_t>(),
                              .stepped = input.take_bool(),
                              .points = input.take<uint8_t>() & 0xfu}});
  }
  stub.on_event();
}

}  // namespace

void vmm::test::fuzz(FuzzInput& input) {
  FakeGdbTarget target;
  GdbPacketReader reader;
  GdbStub stub(target, [](std::string_view text) { require(text.size() <= GdbPacketReader::kMaxPayload); });
  while (input.next_step()) {
    switch (input.take_below(4)) {
      case 0: {
        const auto bytes = input.take_bytes(input.take_below(512));
        obey(stub, reader.feed({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
        break;
      }
      case 1:
        meet(input, target, stub);
        break;
      default:
        obey(stub, reader.feed(gdb_packet(payload(input))));
    }
    target.calls.clear();
  }
  stub.detach();
  require(!stub.attached() && stub.running());
}
