// The UART as its driver sees it: probing, both FIFOs, every cause of an interrupt, and loopback.
#include "devices/pc/uart16550.h"

#include <linux/serial_reg.h>

#include <algorithm>
#include <catch2/catch.hpp>

using namespace vmm;

namespace {

constexpr uint8_t kFifosOn = UART_FCR_ENABLE_FIFO;
constexpr uint8_t kAllInterrupts = UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI;

unsigned interrupt_id(Uart16550& chip) { return chip.read(UART_IIR) & 0x0f; }

void receive(Uart16550& chip, int count) {
  for (int i = 0; i < count; ++i) chip.receive(static_cast<uint8_t>(i));
}

}  // namespace

TEST_CASE("uart: Linux's probe recognises a 16550A", "[uart]") {
  Uart16550 chip;
  chip.write(UART_IER, 0);
  CHECK((chip.read(UART_IER) & kAllInterrupts) == 0);
  chip.write(UART_IER, kAllInterrupts);
  CHECK((chip.read(UART_IER) & kAllInterrupts) == kAllInterrupts);
  chip.write(UART_IER, 0);

  chip.write(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
  CHECK((chip.read(UART_MSR) & 0xf0) == (UART_MSR_DCD | UART_MSR_CTS));
  chip.write(UART_MCR, 0);

  chip.write(UART_LCR, UART_LCR_CONF_MODE_B);
  chip.write(UART_EFR, 0);
  chip.write(UART_LCR, 0);
  chip.write(UART_FCR, kFifosOn);
  CHECK((chip.read(UART_IIR) & 0xc0) == 0xc0);

  chip.write(UART_SCR, 0xa5);
  CHECK(chip.read(UART_SCR) == 0xa5);
}

TEST_CASE("uart: no later chip is recognised in it", "[uart]") {
  Uart16550 chip;
  chip.write(UART_FCR, kFifosOn);
  chip.write(UART_LCR, UART_LCR_CONF_MODE_B);
  CHECK(chip.read(UART_EFR) != 0);  // an extended feature register would read as zero
  chip.write(UART_LCR, UART_LCR_DLAB);
  chip.write(UART_FCR, kFifosOn | UART_FCR7_64BYTE);
  CHECK((chip.read(UART_IIR) & 0x20) == 0);
  chip.write(UART_LCR, 0);
  chip.write(UART_IER, 0xff);
  CHECK(chip.read(UART_IER) == kAllInterrupts);
}

TEST_CASE("uart: enabling the interrupt of an idle transmitter raises it each time", "[uart]") {
  Uart16550 chip;
  chip.write(UART_IER, UART_IER_THRI);
  CHECK(interrupt_id(chip) == UART_IIR_THRI);
  CHECK(interrupt_id(chip) == UART_IIR_NO_INT);
  chip.write(UART_IER, 0);
  chip.write(UART_IER, UART_IER_THRI);
  CHECK(interrupt_id(chip) == UART_IIR_THRI);
}

TEST_CASE("uart: reading the transmitter's interrupt while another is pending does not clear it", "[uart]") {
  Uart16550 chip;
  chip.write(UART_IER, UART_IER_THRI | UART_IER_RDI);
  chip.receive('x');
  CHECK(interrupt_id(chip) == UART_IIR_RDI);
  chip.read(UART_RX);
  CHECK(interrupt_id(chip) == UART_IIR_THRI);
}

TEST_CASE("uart: the transmitter is empty again when the line has taken everything", "[uart]") {
  Uart16550 chip;
  chip.write(UART_FCR, kFifosOn);
  chip.write(UART_IER, UART_IER_THRI);
  interrupt_id(chip);
  chip.write(UART_TX, 'a');
  chip.write(UART_TX, 'b');
  CHECK((chip.read(UART_LSR) & (UART_LSR_THRE | UART_LSR_TEMT)) == 0);
  CHECK(chip.transmit_front() == 'a');
  chip.transmitted();
  CHECK_FALSE(chip.interrupt());
  CHECK(chip.transmit_front() == 'b');
  chip.transmitted();
  CHECK((chip.read(UART_LSR) & (UART_LSR_THRE | UART_LSR_TEMT)) == (UART_LSR_THRE | UART_LSR_TEMT));
  CHECK(interrupt_id(chip) == UART_IIR_THRI);
}

TEST_CASE("uart: a full transmitter loses what is written into it and stays bounded", "[uart]") {
  Uart16550 chip;
  chip.write(UART_FCR, kFifosOn);
  for (int i = 0; i < 1000; ++i) chip.write(UART_TX, static_cast<uint8_t>(i));
  unsigned sent = 0;
  for (; chip.transmitting(); chip.transmitted()) CHECK(chip.transmit_front() == sent++);
  CHECK(sent == Uart16550::kFifoSize);
}

TEST_CASE("uart: the receiver's interrupt comes at each trigger level, below it as a timeout", "[uart]") {
  const auto [trigger, level] = GENERATE(table<int, int>(
      {{UART_FCR_TRIGGER_1, 1}, {UART_FCR_TRIGGER_4, 4}, {UART_FCR_TRIGGER_8, 8}, {UART_FCR_TRIGGER_14, 14}}));
  Uart16550 chip;
  chip.write(UART_FCR, static_cast<uint8_t>(kFifosOn | trigger));
  chip.write(UART_IER, UART_IER_RDI);
  receive(chip, level);
  CHECK(interrupt_id(chip) == UART_IIR_RDI);
  chip.read(UART_RX);
  chip.receive('x');
  CHECK(interrupt_id(chip) == UART_IIR_RDI);
  chip.read(UART_RX);
  CHECK(interrupt_id(chip) == (level == 1 ? UART_IIR_NO_INT : UART_IIR_RX_TIMEOUT));
}

TEST_CASE("uart: bytes are received in order, until the FIFO is full", "[uart]") {
  Uart16550 chip;
  chip.write(UART_FCR, kFifosOn);
  receive(chip, Uart16550::kFifoSize);
  CHECK(chip.receive_room() == 0);
  for (unsigned i = 0; i < Uart16550::kFifoSize; ++i) CHECK(chip.read(UART_RX) == i);
  CHECK((chip.read(UART_LSR) & UART_LSR_DR) == 0);
  CHECK(chip.read(UART_RX) == 0);
}

TEST_CASE("uart: turning the FIFOs on or off, or clearing one, empties it", "[uart]") {
  const uint8_t control = GENERATE(uint8_t{0}, uint8_t{kFifosOn | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT});
  Uart16550 chip;
  chip.write(UART_FCR, kFifosOn);
  receive(chip, 5);
  chip.write(UART_TX, 'x');
  chip.write(UART_FCR, control);
  CHECK(chip.read(UART_LSR) == (UART_LSR_THRE | UART_LSR_TEMT));
  CHECK_FALSE(chip.transmitting());
}

TEST_CASE("uart: without FIFOs their control bits do nothing", "[uart]") {
  Uart16550 chip;
  chip.receive('x');
  chip.write(UART_FCR, UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT | UART_FCR_TRIGGER_14);
  CHECK((chip.read(UART_IIR) & 0xc0) == 0);
  CHECK(chip.read(UART_RX) == 'x');
}

TEST_CASE("uart: a break is a zero with its mark, which the line status shows once (8.6.1)", "[uart]") {
  Uart16550 chip;
  chip.write(UART_FCR, kFifosOn);
  chip.write(UART_IER, UART_IER_RLSI | UART_IER_RDI);
  chip.receive('a');
  chip.receive_break();
  CHECK((chip.read(UART_LSR) & (UART_LSR_BI | UART_LSR_FIFOE)) == UART_LSR_FIFOE);  // not yet at the head
  CHECK(chip.read(UART_RX) == 'a');
  CHECK(interrupt_id(chip) == UART_IIR_RLSI);
  CHECK((chip.read(UART_LSR) & (UART_LSR_BI | UART_LSR_DR)) == (UART_LSR_BI | UART_LSR_DR));
  CHECK((chip.read(UART_LSR) & (UART_LSR_BI | UART_LSR_FIFOE)) == 0);
  CHECK(chip.read(UART_RX) == 0);
  CHECK_FALSE(chip.interrupt());
}

TEST_CASE("uart: in loopback the output comes back as input and reaches nobody", "[uart]") {
  Uart16550 chip;
  chip.write(UART_FCR, kFifosOn);
  chip.write(UART_MCR, UART_MCR_LOOP);
  chip.write(UART_TX, 'x');
  CHECK_FALSE(chip.transmitting());
  CHECK((chip.read(UART_LSR) & UART_LSR_THRE) != 0);
  CHECK(chip.receive_room() == 0);
  CHECK(chip.read(UART_RX) == 'x');
}

TEST_CASE("uart: too much output in loopback overruns the receiver, and its FIFO keeps what it has", "[uart]") {
  Uart16550 chip;
  chip.write(UART_FCR, kFifosOn);
  chip.write(UART_MCR, UART_MCR_LOOP);
  for (uint8_t i = 0; i < 100; ++i) chip.write(UART_TX, i);
  CHECK((chip.read(UART_LSR) & UART_LSR_OE) != 0);
  CHECK((chip.read(UART_LSR) & UART_LSR_OE) == 0);
  for (unsigned i = 0; i < Uart16550::kFifoSize; ++i) CHECK(chip.read(UART_RX) == i);
  CHECK((chip.read(UART_LSR) & UART_LSR_DR) == 0);
}

TEST_CASE("uart: without FIFOs an overrun overwrites the one byte", "[uart]") {
  Uart16550 chip;
  chip.write(UART_MCR, UART_MCR_LOOP);
  chip.write(UART_TX, 'a');
  chip.write(UART_TX, 'b');
  CHECK((chip.read(UART_LSR) & UART_LSR_OE) != 0);
  CHECK(chip.read(UART_RX) == 'b');
}

TEST_CASE("uart: a break sent in loopback is received", "[uart]") {
  Uart16550 chip;
  chip.write(UART_MCR, UART_MCR_LOOP);
  chip.write(UART_LCR, UART_LCR_SBC);
  CHECK((chip.read(UART_LSR) & UART_LSR_BI) != 0);
}

TEST_CASE("uart: modem lines that change are told once", "[uart]") {
  Uart16550 chip;
  chip.write(UART_MCR, UART_MCR_LOOP);
  chip.read(UART_MSR);
  chip.write(UART_IER, UART_IER_MSI);
  chip.write(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1 | UART_MCR_RTS);
  CHECK(interrupt_id(chip) == UART_IIR_MSI);
  CHECK(chip.read(UART_MSR) == (UART_MSR_RI | UART_MSR_CTS | UART_MSR_DCTS));  // RI counts when it falls
  CHECK_FALSE(chip.interrupt());
  chip.write(UART_MCR, UART_MCR_LOOP | UART_MCR_RTS);
  CHECK(chip.read(UART_MSR) == (UART_MSR_CTS | UART_MSR_TERI));
}

TEST_CASE("uart: the peer is always ready", "[uart]") {
  Uart16550 chip;
  CHECK(chip.read(UART_MSR) == (UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS));
}

TEST_CASE("uart: the divisor takes any value and hides data and interrupt enable meanwhile", "[uart]") {
  const uint8_t divisor = GENERATE(uint8_t{0}, uint8_t{1}, uint8_t{0xff});
  Uart16550 chip;
  chip.write(UART_FCR, kFifosOn);
  chip.receive('x');
  chip.write(UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
  chip.write(UART_DLL, divisor);
  chip.write(UART_DLM, divisor);
  CHECK(chip.read(UART_DLL) == divisor);
  CHECK(chip.read(UART_DLM) == divisor);
  CHECK_FALSE(chip.transmitting());
  chip.write(UART_LCR, UART_LCR_WLEN8);
  CHECK(chip.read(UART_IER) == 0);
  CHECK(chip.read(UART_RX) == 'x');
}

TEST_CASE("uart: every value in every register, in any order, leaves it bounded", "[uart]") {
  Uart16550 chip;
  uint32_t random = 1;
  size_t most = 0;
  for (int i = 0; i < 200'000; ++i) {
    random = random * 1664525 + 1013904223;
    const size_t offset = random >> 29;
    chip.write(offset, static_cast<uint8_t>(random >> 16));
    chip.read(random >> 26 & 7);
    size_t room = chip.receive_room();
    for (; room > 8; --room) chip.receive_break();
    most = std::max(most, room);
  }
  CHECK(most <= Uart16550::kFifoSize);
  chip.write(UART_MCR, 0);
  chip.write(UART_FCR, 0);
  chip.write(UART_FCR, kFifosOn);
  CHECK(chip.receive_room() == Uart16550::kFifoSize);
}
