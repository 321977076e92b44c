// The PL011 as a driver and the line see it, and with its wire and console around it.
#include "devices/arm/pl011.h"

#include <catch2/catch.hpp>
#include <string>

#include "devices/pc/serial.h"
#include "tests/support/fake_char_backend.h"
#include "tests/support/fake_irq_line.h"
#include "tests/support/port_access.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kData = 0x00, kStatus = 0x04, kFlags = 0x18, kLineControl = 0x2c, kControl = 0x30, kLevels = 0x34;
constexpr uint64_t kMask = 0x38, kRaw = 0x3c, kMasked = 0x40, kClear = 0x44;
constexpr uint32_t kReceiveEmpty = 1 << 4, kTransmitFull = 1 << 5, kReceiveFull = 1 << 6, kTransmitEmpty = 1 << 7;
constexpr uint32_t kFifos = 0x70, kLoop = 1 << 7;
constexpr uint32_t kRx = 1 << 4, kTx = 1 << 5, kTimeout = 1 << 6, kBreak = 1 << 9, kOverrun = 1 << 10;

struct Chip {
  Chip() { write(kLineControl, kFifos); }
  uint32_t read(uint64_t offset) {
    uint32_t value = 0;
    chip.read(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  void write(uint64_t offset, uint32_t value) { chip.write(offset, std::as_bytes(std::span(&value, 1))); }
  void receive(const std::string& text) {
    for (const char c : text) chip.receive(static_cast<uint8_t>(c));
  }
  Pl011 chip;
};

struct Line {
  Line() { write_port<uint32_t>(serial, kLineControl, kFifos); }
  FakeIrqLine irq;
  FakeCharBackend console;
  ArmSerial serial{irq, console};
};

}  // namespace

TEST_CASE("pl011: says which PrimeCell it is", "[pl011]") {
  Chip f;
  uint64_t identity = 0;
  for (unsigned i = 0; i < 8; ++i) identity |= uint64_t{f.read(0xfe0 + 4 * i)} << (8 * i);
  CHECK(identity == 0xb105f00d00341011);
}

TEST_CASE("pl011: transmits in order, and interrupts when it has nothing left", "[pl011]") {
  Chip f;
  f.write(kMask, kTx);
  CHECK_FALSE(f.chip.interrupt());
  f.write(kData, 'a');
  f.write(kData, 'b');
  CHECK((f.read(kFlags) & kTransmitEmpty) == 0);
  CHECK(f.chip.transmit_front() == 'a');
  f.chip.transmitted();
  CHECK_FALSE(f.chip.interrupt());
  CHECK(f.chip.transmit_front() == 'b');
  f.chip.transmitted();
  CHECK(f.chip.interrupt());
  CHECK((f.read(kFlags) & kTransmitEmpty) != 0);
  f.write(kClear, kTx);
  CHECK_FALSE(f.chip.interrupt());
}

TEST_CASE("pl011: a full transmitter says so and loses what is written into it", "[pl011]") {
  Chip f;
  for (unsigned i = 0; i < Pl011::kFifoSize; ++i) f.write(kData, i);
  CHECK((f.read(kFlags) & kTransmitFull) != 0);
  f.write(kData, 99);
  for (unsigned i = 0; i < Pl011::kFifoSize; ++i) {
    CHECK(f.chip.transmit_front() == i);
    f.chip.transmitted();
  }
  CHECK_FALSE(f.chip.transmitting());
}

TEST_CASE("pl011: a byte interrupts by its timeout, many by their level", "[pl011]") {
  Chip f;
  f.write(kLevels, 2 << 3);  // half full
  CHECK((f.read(kFlags) & kReceiveEmpty) != 0);
  f.receive("x");
  CHECK(f.read(kRaw) == kTimeout);
  f.receive(std::string(15, 'y'));
  CHECK(f.read(kRaw) == (kTimeout | kRx));
  f.write(kMask, kRx);
  CHECK(f.read(kMasked) == kRx);
  CHECK(f.read(kData) == 'x');
  CHECK(f.read(kMasked) == 0);
}

TEST_CASE("pl011: a full receiver takes no more, and marks what was lost", "[pl011]") {
  Chip f;
  f.receive(std::string(Pl011::kFifoSize, 'a'));
  CHECK(f.chip.receive_room() == 0);
  CHECK((f.read(kFlags) & kReceiveFull) != 0);
  f.chip.receive('b');
  CHECK((f.read(kRaw) & kOverrun) != 0);
  f.write(kClear, kOverrun);
  CHECK((f.read(kRaw) & kOverrun) == 0);
}

TEST_CASE("pl011: a break is a zero with its mark, and an interrupt until it is cleared", "[pl011]") {
  Chip f;
  f.chip.receive_break();
  CHECK((f.read(kRaw) & kBreak) != 0);
  CHECK(f.read(kData) == 1 << 10);
  CHECK(f.read(kStatus) == 1 << 2);
  f.write(kStatus, 0);
  CHECK(f.read(kStatus) == 0);
  f.write(kClear, kBreak);
  CHECK(f.read(kRaw) == 0);
}

TEST_CASE("pl011: looped, it hears itself and nobody else", "[pl011]") {
  Chip f;
  f.write(kControl, 0x300 | kLoop);
  CHECK(f.chip.receive_room() == 0);
  f.write(kData, 'z');
  CHECK_FALSE(f.chip.transmitting());
  CHECK(f.read(kData) == 'z');
}

TEST_CASE("pl011: without FIFOs it holds one byte each way", "[pl011]") {
  Chip f;
  f.write(kLineControl, 0x60);
  f.write(kData, 'a');
  CHECK((f.read(kFlags) & kTransmitFull) != 0);
  f.receive("b");
  CHECK((f.read(kFlags) & kReceiveFull) != 0);
  CHECK(f.read(kRaw) == kRx);
}

TEST_CASE("pl011: narrow, wide and crooked accesses do no harm", "[pl011]") {
  Chip f;
  const std::byte byte{'a'};
  f.chip.write(kData, {&byte, 1});
  CHECK(f.chip.transmit_front() == 'a');
  f.chip.write(kData + 1, {&byte, 1});
  f.chip.transmitted();
  CHECK_FALSE(f.chip.transmitting());
  std::array<std::byte, 8> wide;
  wide.fill(std::byte{0xff});
  f.chip.read(kFlags + 2, wide);
  CHECK(wide == std::array<std::byte, 8>{});
}

TEST_CASE("pl011: on its bus it prints, hears, and waits for a console without room", "[pl011]") {
  Line f;
  write_port<uint32_t>(f.serial, kMask, kTx | kTimeout);
  f.console.room = 1;
  write_port<uint32_t>(f.serial, kData, 'h');
  CHECK(f.irq.level);
  write_port<uint32_t>(f.serial, kData, 'i');
  CHECK_FALSE(f.irq.level);
  f.console.make_room(10);
  CHECK(f.console.output == "hi");
  CHECK(f.irq.level);
  write_port<uint32_t>(f.serial, kClear, kTx);
  CHECK_FALSE(f.irq.level);
  CHECK(f.console.type("ok") == 2);
  CHECK(f.irq.level);
  CHECK(read_port<uint32_t>(f.serial, kData) == 'o');
  CHECK(read_port<uint32_t>(f.serial, kData) == 'k');
  CHECK_FALSE(f.irq.level);
  f.serial.send_break('t');
  CHECK(read_port<uint32_t>(f.serial, kData) == 1 << 10);
  CHECK(read_port<uint32_t>(f.serial, kData) == 't');
}
