// QEMU's pc-testdev, on the buses where guests find it.
#include "devices/pc/pc_testdev.h"

#include <catch2/catch.hpp>

#include "tests/support/fake_irq_line.h"

using namespace vmm;
using namespace vmm::test;

namespace {

// Lends a wire that outlives the device.
struct LentLine : IrqLine {
  explicit LentLine(FakeIrqLine& lent) : line(lent) {}
  void set(bool level) override { line.set(level); }
  FakeIrqLine& line;
};

struct Fixture {
  Fixture() { REQUIRE(device.plug(ports, memory_bus)); }

  PcTestdev::Inputs lend() {
    PcTestdev::Inputs inputs;
    for (size_t i = 0; i < inputs.size(); ++i) inputs[i] = std::make_unique<LentLine>(lines[i]);
    return inputs;
  }
  template <typename T>
  static void write(Bus& bus, uint64_t address, T value) {
    bus.write(address, std::as_bytes(std::span(&value, 1)));
  }
  template <typename T>
  static T read(Bus& bus, uint64_t address) {
    T value{};
    bus.read(address, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  GuestMemory memory{std::array{GuestMemory::Range{{0}, 0x10000}}};
  std::array<FakeIrqLine, PcTestdev::kInputs> lines;
  Bus ports, memory_bus;
  PcTestdev device{memory, lend()};
};

}  // namespace

TEST_CASE("pc-testdev: ports keep what is written, at any width, and show it twice", "[pc-testdev]") {
  Fixture f;
  CHECK(f.read<uint32_t>(f.ports, 0xe0) == 0);
  f.write<uint32_t>(f.ports, 0xe0, 0x12345678);
  f.write<uint8_t>(f.ports, 0xe1, 0xab);
  CHECK(f.read<uint32_t>(f.ports, 0xe0) == 0x1234ab78);
  CHECK(f.read<uint16_t>(f.ports, 0xe2) == 0x1234);
  CHECK(f.read<uint32_t>(f.ports, 0xe8) == 0x1234ab78);
}

TEST_CASE("pc-testdev: memory of the device keeps what is written, up to its last byte", "[pc-testdev]") {
  Fixture f;
  f.write<uint64_t>(f.memory_bus, 0xff000ff8, 0x0123456789abcdef);
  CHECK(f.read<uint64_t>(f.memory_bus, 0xff000ff8) == 0x0123456789abcdef);
  f.write<uint8_t>(f.memory_bus, 0xff00ffff, 0x5a);
  CHECK(f.read<uint8_t>(f.memory_bus, 0xff00ffff) == 0x5a);
  f.write<uint32_t>(f.memory_bus, 0xff00ffff, 0xffffffa5);
  CHECK(f.read<uint32_t>(f.memory_bus, 0xff00ffff) == 0xffffffa5);  // what is beyond reads as ones
}

TEST_CASE("pc-testdev: a byte sets the level of the input of that number", "[pc-testdev]") {
  Fixture f;
  const auto [port, input] = GENERATE(table<uint64_t, size_t>({{0x2000, 0}, {0x200e, 14}, {0x2017, 23}}));
  f.write<uint8_t>(f.ports, port, 2);
  CHECK(f.lines[input].level);
  f.write<uint8_t>(f.ports, port, 0);
  CHECK(!f.lines[input].level);
  unsigned rises = 0;
  for (const FakeIrqLine& line : f.lines) rises += line.rises;
  CHECK(rises == 1);
}

TEST_CASE("pc-testdev: what is wider than a byte is no level", "[pc-testdev]") {
  Fixture f;
  f.write<uint16_t>(f.ports, 0x200e, 0x0101);
  CHECK(!f.lines[14].level);
  CHECK(!f.lines[15].level);
}

TEST_CASE("pc-testdev: a page that is looked up anew keeps its contents; others do no harm", "[pc-testdev]") {
  Fixture f;
  f.memory.write_value(GuestAddress{0x3abc}, uint32_t{0x5aa5});
  for (const uint32_t address : {0x3abcu, 0xf000u, 0x10000u, 0xffffffffu}) f.write(f.ports, 0xe4, address);
  f.write<uint16_t>(f.ports, 0xe4, 0x3000);
  CHECK(f.memory.read<uint32_t>({0x3abc}) == 0x5aa5);
  CHECK(f.memory.write_value(GuestAddress{0x3abc}, uint32_t{1}));
}

TEST_CASE("pc-testdev: another device in its place is said", "[pc-testdev]") {
  Fixture f;
  PcTestdev second(f.memory, f.lend());
  CHECK(!second.plug(f.ports, f.memory_bus));
}
