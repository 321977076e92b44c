// Registers and interrupts of the 16550A; see uart16550.h. Section numbers are the PC16550D data sheet's (1995).
#include "devices/pc/uart16550.h"

#include <linux/serial_reg.h>

#include <utility>

namespace vmm {

namespace {

constexpr uint8_t kIerBits = UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI;
constexpr uint8_t kMcrBits = UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT1 | UART_MCR_OUT2 | UART_MCR_LOOP;
constexpr uint8_t kIirFifoEnabled = 0xc0;  // both bits: a 16550A whose FIFOs work (§8.6.3)
// Whoever is at the other end is always there and ready.
constexpr uint8_t kPeerLines = UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;

size_t trigger_level(uint8_t fifo_control) {
  switch (fifo_control & UART_FCR_TRIGGER_MASK) {
    case UART_FCR_TRIGGER_4:
      return 4;
    case UART_FCR_TRIGGER_8:
      return 8;
    case UART_FCR_TRIGGER_14:
      return 14;
    default:
      return 1;
  }
}

}  // namespace

bool Uart16550::fifo_enabled() const { return (fifo_control_ & UART_FCR_ENABLE_FIFO) != 0; }
bool Uart16550::looped() const { return (modem_control_ & UART_MCR_LOOP) != 0; }
bool Uart16550::divisor_access() const { return (line_control_ & UART_LCR_DLAB) != 0; }

uint8_t Uart16550::read(size_t offset) {
  switch (offset) {
    case UART_RX:
      return divisor_access() ? divisor_low_ : read_received();
    case UART_IER:
      return divisor_access() ? divisor_high_ : interrupt_enable_;
    case UART_IIR:
      return read_interrupt_id();
    case UART_LCR:
      return line_control_;
    case UART_MCR:
      return modem_control_;
    case UART_LSR:
      return read_line_status();
    case UART_MSR:
      return read_modem_status();
    case UART_SCR:
      return scratch_;
    default:
      return 0xff;
  }
}

void Uart16550::write(size_t offset, uint8_t value) {
  switch (offset) {
    case UART_TX:
      return divisor_access() ? void(divisor_low_ = value) : write_transmit(value);
    case UART_IER:
      return divisor_access() ? void(divisor_high_ = value) : write_interrupt_enable(value);
    case UART_FCR:
      return write_fifo_control(value);
    case UART_LCR:
      return write_line_control(value);
    case UART_MCR:
      return write_modem_control(value);
    case UART_SCR:
      scratch_ = value;
      return;
    default:
      return;  // the status registers are read-only
  }
}

// The pending interrupt of the highest priority (§8.6.3 table III).
uint8_t Uart16550::interrupt_id() const {
  if ((interrupt_enable_ & UART_IER_RLSI) != 0 && (line_status() & UART_LSR_BRK_ERROR_BITS) != 0) return UART_IIR_RLSI;
  if ((interrupt_enable_ & UART_IER_RDI) != 0 && !receive_.empty()) {
    const bool triggered = !fifo_enabled() || receive_.size() >= trigger_level(fifo_control_);
    return triggered ? UART_IIR_RDI : UART_IIR_RX_TIMEOUT;
  }
  if ((interrupt_enable_ & UART_IER_THRI) != 0 && transmit_empty_pending_) return UART_IIR_THRI;
  if ((interrupt_enable_ & UART_IER_MSI) != 0 && modem_deltas_ != 0) return UART_IIR_MSI;
  return kNoInterrupt;
}

uint8_t Uart16550::read_interrupt_id() {
  const uint8_t id = interrupt_id();
  if (id == UART_IIR_THRI) transmit_empty_pending_ = false;
  return static_cast<uint8_t>(id | (fifo_enabled() ? kIirFifoEnabled : 0));
}

// The errors shown are those of the byte at the head of the FIFO (§8.6.1).
uint8_t Uart16550::line_status() const {
  unsigned status = transmit_.empty() ? UART_LSR_THRE | UART_LSR_TEMT : 0;
  if (overrun_) status |= UART_LSR_OE;
  if (!receive_.empty()) status |= UART_LSR_DR | unsigned{receive_.front().errors};
  if (fifo_enabled()) {
    for (const Received& received : receive_) status |= received.errors != 0 ? UART_LSR_FIFOE : 0;
  }
  return static_cast<uint8_t>(status);
}

uint8_t Uart16550::read_line_status() {
  const uint8_t status = line_status();
  overrun_ = false;
  if (!receive_.empty()) receive_.front().errors = 0;
  return status;
}

// In loopback the modem outputs come back as the inputs (§8.6.7).
uint8_t Uart16550::modem_lines() const {
  if (!looped()) return kPeerLines;
  unsigned lines = 0;
  if ((modem_control_ & UART_MCR_RTS) != 0) lines |= UART_MSR_CTS;
  if ((modem_control_ & UART_MCR_DTR) != 0) lines |= UART_MSR_DSR;
  if ((modem_control_ & UART_MCR_OUT1) != 0) lines |= UART_MSR_RI;
  if ((modem_control_ & UART_MCR_OUT2) != 0) lines |= UART_MSR_DCD;
  return static_cast<uint8_t>(lines);
}

uint8_t Uart16550::read_modem_status() {
  return static_cast<uint8_t>(modem_lines() | std::exchange(modem_deltas_, uint8_t{0}));
}

uint8_t Uart16550::read_received() {
  if (receive_.empty()) return 0;
  const uint8_t byte = receive_.front().byte;
  receive_.pop_front();
  return byte;
}

void Uart16550::write_transmit(uint8_t value) {
  transmit_empty_pending_ = false;
  if (looped()) {
    push_received({value, 0});
    if (transmit_.empty()) transmitter_emptied();
    return;
  }
  // A driver that writes into a full transmitter loses the newest byte, as with the chip.
  if (transmit_.size() < fifo_capacity()) transmit_.push_back(value);
}

void Uart16550::transmitted() {
  transmit_.pop_front();
  if (transmit_.empty()) transmitter_emptied();
}

// Enabling the interrupt of an empty transmitter raises it at once (§8.6.3): drivers start, and probe, that way.
void Uart16550::write_interrupt_enable(uint8_t value) {
  const bool was_enabled = (interrupt_enable_ & UART_IER_THRI) != 0;
  interrupt_enable_ = value & kIerBits;
  const bool enabled = (interrupt_enable_ & UART_IER_THRI) != 0;
  if (enabled && !was_enabled && transmit_.empty()) transmitter_emptied();
}

// §8.6.2. Turning the FIFOs on or off empties them; the other bits only count together with the one that turns them on.
void Uart16550::write_fifo_control(uint8_t value) {
  if ((value & UART_FCR_ENABLE_FIFO) == 0) value = 0;
  const bool toggled = ((value ^ fifo_control_) & UART_FCR_ENABLE_FIFO) != 0;
  fifo_control_ = value & (UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_MASK);
  if (toggled || (value & UART_FCR_CLEAR_RCVR) != 0) receive_.clear();
  if ((toggled || (value & UART_FCR_CLEAR_XMIT) != 0) && !transmit_.empty()) {
    transmit_.clear();
    transmitter_emptied();
  }
}

void Uart16550::write_line_control(uint8_t value) {
  const bool breaks = (value & ~line_control_ & UART_LCR_SBC) != 0;
  line_control_ = value;
  if (breaks && looped()) receive_break();
}

void Uart16550::write_modem_control(uint8_t value) {
  const uint8_t before = modem_lines();
  modem_control_ = value & kMcrBits;
  const unsigned changed = before ^ modem_lines();
  // The delta bits are the line bits four places lower, but for RI, of which only the trailing edge counts (§8.6.8).
  unsigned deltas = (changed & (UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD)) >> 4;
  if ((changed & before & UART_MSR_RI) != 0) deltas |= UART_MSR_TERI;
  modem_deltas_ |= static_cast<uint8_t>(deltas);
}

// While looped the receiver is cut off from the line.
size_t Uart16550::receive_room() const {
  if (looped() || receive_.size() >= fifo_capacity()) return 0;
  return fifo_capacity() - receive_.size();
}

// A break is received as one zero byte with its mark (§8.6.1).
void Uart16550::receive_break() { push_received({0, UART_LSR_BI}); }

void Uart16550::push_received(Received received) {
  if (receive_.size() < fifo_capacity()) {
    receive_.push_back(received);
    return;
  }
  // A full FIFO keeps what it has; the single register of a chip without FIFOs is overwritten (§8.6.1).
  overrun_ = true;
  if (!fifo_enabled()) receive_.back() = received;
}

}  // namespace vmm
