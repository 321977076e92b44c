// Registers and interrupts of the PL011; see pl011.h. Section numbers are those of its manual.
#include "devices/arm/pl011.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace vmm {

namespace {

enum : uint64_t {  // §3.2
  UARTDR = 0x00,
  UARTRSR = 0x04,
  UARTFR = 0x18,
  UARTIBRD = 0x24,
  UARTFBRD = 0x28,
  UARTLCR_H = 0x2c,
  UARTCR = 0x30,
  UARTIFLS = 0x34,
  UARTIMSC = 0x38,
  UARTRIS = 0x3c,
  UARTMIS = 0x40,
  UARTICR = 0x44,
  UARTDMACR = 0x48,
};
constexpr uint64_t kIdentification = 0xfe0;  // UARTPeriphID0 to 3, UARTPCellID0 to 3
constexpr std::array<uint8_t, 8> kIdentity{0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

enum : uint32_t {
  FR_CTS = 1 << 0,  // §3.3.3
  FR_DSR = 1 << 1,
  FR_DCD = 1 << 2,
  FR_RXFE = 1 << 4,
  FR_TXFF = 1 << 5,
  FR_RXFF = 1 << 6,
  FR_TXFE = 1 << 7,
  DR_BE = 1 << 10,  // §3.3.1
  DR_OE = 1 << 11,
  LCR_H_FEN = 1 << 4,  // §3.3.7
  CR_LBE = 1 << 7,     // §3.3.8
  INT_RX = 1 << 4,     // §3.3.10 to 13
  INT_TX = 1 << 5,
  INT_RT = 1 << 6,
  INT_BE = 1 << 9,
  INT_OE = 1 << 10,
};
constexpr uint32_t kAllInterrupts = 0x7ff;
constexpr uint32_t kDataErrors = 0xf00;

}  // namespace

bool Pl011::fifo_enabled() const { return (line_control_ & LCR_H_FEN) != 0; }
bool Pl011::looped() const { return (control_ & CR_LBE) != 0; }

void Pl011::read(uint64_t offset, std::span<std::byte> data) {
  std::fill(data.begin(), data.end(), std::byte{0});
  const uint32_t value = read_register(offset & ~uint64_t{3});
  const size_t skipped = offset & 3;
  const size_t length = std::min(data.size(), sizeof value - skipped);
  std::memcpy(data.data(), reinterpret_cast<const std::byte*>(&value) + skipped, length);
}

// Drivers write words, halves and bytes, always at a register's start.
void Pl011::write(uint64_t offset, std::span<const std::byte> data) {
  if ((offset & 3) != 0) return;
  uint32_t value = 0;
  std::memcpy(&value, data.data(), std::min(data.size(), sizeof value));
  write_register(offset, value);
}

uint32_t Pl011::read_register(uint64_t offset) {
  if (offset >= kIdentification && offset < kRegisters) return kIdentity[(offset - kIdentification) / 4];
  switch (offset) {
    case UARTDR:
      return read_data();
    case UARTRSR:
      return receive_status_;
    case UARTFR:
      return flags();
    case UARTIBRD:
      return integer_divisor_;
    case UARTFBRD:
      return fraction_divisor_;
    case UARTLCR_H:
      return line_control_;
    case UARTCR:
      return control_;
    case UARTIFLS:
      return fifo_levels_;
    case UARTIMSC:
      return interrupt_mask_;
    case UARTRIS:
      return raw_interrupts();
    case UARTMIS:
      return raw_interrupts() & interrupt_mask_;
    case UARTDMACR:
      return dma_control_;
    default:
      return 0;
  }
}

void Pl011::write_register(uint64_t offset, uint32_t value) {
  switch (offset) {
    case UARTDR:
      return write_data(static_cast<uint8_t>(value));
    case UARTRSR:
      receive_status_ = 0;
      return;
    case UARTIBRD:
      integer_divisor_ = value & 0xffff;
      return;
    case UARTFBRD:
      fraction_divisor_ = value & 0x3f;
      return;
    case UARTLCR_H:
      return write_line_control(value);
    case UARTCR:
      control_ = value & 0xffff;
      return;
    case UARTIFLS:
      fifo_levels_ = value & 0x3f;
      return;
    case UARTIMSC:
      interrupt_mask_ = value & kAllInterrupts;
      return;
    case UARTICR:
      latched_ &= ~value;
      return;
    case UARTDMACR:
      dma_control_ = value & 7;
      return;
    default:
      return;
  }
}

// The level at which a FIFO asks for service: 1/8, 1/4, 1/2, 3/4 or 7/8 of it (§3.3.9).
size_t Pl011::trigger(unsigned level) const {
  constexpr std::array<size_t, 8> kLevels{4, 8, 16, 24, 28, 28, 28, 28};
  return fifo_enabled() ? kLevels[level & 7] : 1;
}

// Interrupt levels: the receiver's, of which the timeout needs no time here. The transmitter's is an event, the moment
// in which the FIFO falls to its trigger level, and not its being so empty: that is why it is latched (§2.8.3).
uint32_t Pl011::raw_interrupts() const {
  uint32_t raised = latched_;
  if (receive_.size() >= trigger(fifo_levels_ >> 3)) raised |= INT_RX;
  if (!receive_.empty() && fifo_enabled()) raised |= INT_RT;
  return raised;
}

uint32_t Pl011::flags() const {
  uint32_t flags = FR_CTS | FR_DSR | FR_DCD;
  if (receive_.empty()) flags |= FR_RXFE;
  if (receive_.size() >= fifo_capacity()) flags |= FR_RXFF;
  if (transmit_.empty()) flags |= FR_TXFE;
  if (transmit_.size() >= fifo_capacity()) flags |= FR_TXFF;
  return flags;
}

uint32_t Pl011::read_data() {
  if (receive_.empty()) return 0;
  const uint16_t entry = receive_.front();
  receive_.pop_front();
  receive_status_ = (entry & kDataErrors) >> 8;
  return entry;
}

// A driver that writes into a full transmitter loses the byte, as with the chip.
void Pl011::write_data(uint8_t byte) {
  latched_ &= ~uint32_t{INT_TX};
  if (looped()) {
    push_received(byte);
    latched_ |= INT_TX;
    return;
  }
  if (transmit_.size() < fifo_capacity()) transmit_.push_back(byte);
}

void Pl011::transmitted() {
  transmit_.pop_front();
  if (transmit_.empty()) latched_ |= INT_TX;
}

// Turning the FIFOs on or off empties them.
void Pl011::write_line_control(uint32_t value) {
  if (((value ^ line_control_) & LCR_H_FEN) != 0) {
    receive_.clear();
    transmit_.clear();
  }
  line_control_ = value & 0xff;
}

// While looped the receiver is cut off from the line.
size_t Pl011::receive_room() const {
  if (looped() || receive_.size() >= fifo_capacity()) return 0;
  return fifo_capacity() - receive_.size();
}

// A break is received as one zero byte with its mark (§3.3.1).
void Pl011::receive_break() {
  push_received(DR_BE);
  latched_ |= INT_BE;
}

void Pl011::push_received(uint16_t entry) {
  if (receive_.size() < fifo_capacity()) {
    receive_.push_back(entry);
    return;
  }
  receive_.back() |= DR_OE;
  latched_ |= INT_OE;
}

}  // namespace vmm
