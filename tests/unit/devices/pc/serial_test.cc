// A serial port between a driver that polls its ports and a console that does not always have room.
#include "devices/pc/serial.h"

#include <linux/serial_reg.h>

#include <catch2/catch.hpp>
#include <string>

#include "tests/support/fake_char_backend.h"
#include "tests/support/fake_irq_line.h"
#include "tests/support/port_access.h"

using namespace vmm;
using namespace vmm::test;

namespace {

struct Fixture {
  Fixture() { write(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_14); }

  uint8_t read(uint64_t offset) { return read_port(serial, offset); }
  void write(uint64_t offset, unsigned value) { write_port(serial, offset, static_cast<uint8_t>(value)); }
  bool transmitter_empty() { return (read(UART_LSR) & UART_LSR_THRE) != 0; }
  std::string read_received() {
    std::string text;
    while ((read(UART_LSR) & UART_LSR_DR) != 0) text += static_cast<char>(read(UART_RX));
    return text;
  }

  FakeIrqLine irq;
  FakeCharBackend console;
  Serial serial{irq, console};
};

}  // namespace

TEST_CASE("serial: what the guest writes is on the console at once", "[serial]") {
  Fixture f;
  f.write(UART_TX, 'h');
  f.write(UART_TX, 'i');
  CHECK(f.console.output == "hi");
  CHECK(f.transmitter_empty());
}

TEST_CASE("serial: refused output keeps the transmitter full until the console has room", "[serial]") {
  Fixture f;
  f.console.room = 0;
  f.write(UART_IER, UART_IER_THRI);
  f.read(UART_IIR);
  for (const char byte : std::string("abc")) f.write(UART_TX, static_cast<uint8_t>(byte));
  CHECK_FALSE(f.transmitter_empty());
  f.console.make_room(2);
  CHECK(f.console.output == "ab");
  CHECK_FALSE(f.transmitter_empty());
  CHECK_FALSE(f.irq.level);
  f.console.make_room(100);
  CHECK(f.console.output == "abc");
  CHECK(f.transmitter_empty());
  CHECK(f.irq.level);
}

TEST_CASE("serial: the wire follows the chip and is moved only when it changes", "[serial]") {
  Fixture f;
  f.write(UART_IER, UART_IER_RDI);
  f.console.type("x");
  CHECK(f.irq.level);
  f.console.type("y");
  CHECK(f.irq.rises == 1);
  CHECK(f.read_received() == "xy");
  CHECK_FALSE(f.irq.level);
}

TEST_CASE("serial: only as much input is taken as the FIFO has room for", "[serial]") {
  Fixture f;
  CHECK(f.console.type("0123456789abcdefghij") == 16);
  CHECK(f.console.type("ghij") == 0);
  CHECK(f.console.resumes == 0);
  CHECK(f.read_received() == "0123456789abcdef");
  CHECK(f.console.resumes == 1);
  CHECK(f.console.type("ghij") == 4);
}

TEST_CASE("serial: a driver that empties the FIFO by its control register gets the rest of the input", "[serial]") {
  Fixture f;
  f.console.type("0123456789abcdefghij");
  f.write(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
  CHECK(f.console.resumes == 1);
}

TEST_CASE("serial: input waits while the line is cut off by loopback", "[serial]") {
  Fixture f;
  f.write(UART_MCR, UART_MCR_LOOP);
  CHECK(f.console.type("x") == 0);
  f.write(UART_MCR, 0);
  CHECK(f.console.resumes == 1);
}

TEST_CASE("serial: a break comes after the input that was there before it", "[serial]") {
  Fixture f;
  f.console.type("0123456789abcdef");
  f.serial.send_break();
  CHECK(f.console.type("t") == 0);
  std::string received;
  while ((f.read(UART_LSR) & UART_LSR_BI) == 0) received += static_cast<char>(f.read(UART_RX));
  CHECK(received == "0123456789abcdef");
  CHECK(f.read(UART_RX) == 0);
  CHECK(f.console.resumes == 1);
  CHECK(f.console.type("t") == 1);
}

TEST_CASE("serial: a break with the FIFO empty arrives at once", "[serial]") {
  Fixture f;
  f.write(UART_IER, UART_IER_RLSI);
  f.serial.send_break();
  CHECK(f.irq.level);
  CHECK((f.read(UART_LSR) & UART_LSR_BI) != 0);
}

TEST_CASE("serial: a wide access is one access to each register", "[serial]") {
  Fixture f;
  write_port<uint16_t>(f.serial, UART_TX, UART_IER_RDI << 8 | 'w');
  CHECK(f.console.output == "w");
  CHECK(f.read(UART_IER) == UART_IER_RDI);
  f.write(UART_SCR, 0x5a);
  CHECK(read_port<uint32_t>(f.serial, UART_MCR) >> 24 == 0x5a);
}

TEST_CASE("serial: the console is given back in the end", "[serial]") {
  FakeIrqLine irq;
  FakeCharBackend console;
  std::make_unique<Serial>(irq, console).reset();
  CHECK_FALSE(console.attached());
}
