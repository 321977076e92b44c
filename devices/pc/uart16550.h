// Uart16550: the chip, as in National Semiconductor's PC16550D data sheet: a UART with two 16-byte FIFOs.
//
// It knows neither bus nor wire nor time; serial.h is the glue around it. The line has no speed: a byte that the guest
// writes is offered to the outside at once, and a byte from the outside is in the receive FIFO at once. Three things
// follow. The divisor is only remembered, so that no value of it can do harm. The character timeout, which a real chip
// raises when bytes below the trigger level have waited for four character times, is raised immediately. And the
// transmitter is empty again as soon as the outside has taken what it holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>

namespace vmm {

class Uart16550 {
 public:
  static constexpr size_t kRegisters = 8;
  static constexpr size_t kFifoSize = 16;

  // The guest's side: registers by offset, UART_* of <linux/serial_reg.h>.
  uint8_t read(size_t offset);
  void write(size_t offset, uint8_t value);
  // The level of the interrupt pin.
  bool interrupt() const { return interrupt_id() != kNoInterrupt; }

  // The receiver's side of the line. receive() and receive_break() need room.
  size_t receive_room() const;
  bool received() const { return !receive_.empty(); }  // bytes that the guest has not read
  void receive(uint8_t byte) { push_received({byte, 0}); }
  void receive_break();

  // The transmitter's side of the line: the oldest byte that waits, and the news that the outside has taken it.
  bool transmitting() const { return !transmit_.empty(); }
  uint8_t transmit_front() const { return transmit_.front(); }
  void transmitted();

 private:
  struct Received {
    uint8_t byte = 0;
    uint8_t errors = 0;  // the UART_LSR_* error bits that belong to this byte
  };
  static constexpr uint8_t kNoInterrupt = 0x01;  // UART_IIR_NO_INT

  bool fifo_enabled() const;
  bool looped() const;
  bool divisor_access() const;
  size_t fifo_capacity() const { return fifo_enabled() ? kFifoSize : 1; }

  uint8_t interrupt_id() const;
  uint8_t line_status() const;
  uint8_t modem_lines() const;
  uint8_t read_received();
  uint8_t read_interrupt_id();
  uint8_t read_line_status();
  uint8_t read_modem_status();
  void write_transmit(uint8_t value);
  void write_interrupt_enable(uint8_t value);
  void write_fifo_control(uint8_t value);
  void write_line_control(uint8_t value);
  void write_modem_control(uint8_t value);
  void push_received(Received received);
  void transmitter_emptied() { transmit_empty_pending_ = true; }

  std::deque<Received> receive_;  // both at most fifo_capacity()
  std::deque<uint8_t> transmit_;
  bool overrun_ = false;                 // latched until the line status is read
  bool transmit_empty_pending_ = false;  // the THRE interrupt: cleared by reading IIR or writing THR
  uint8_t modem_deltas_ = 0;
  uint8_t interrupt_enable_ = 0;
  uint8_t fifo_control_ = 0;
  uint8_t line_control_ = 0;
  uint8_t modem_control_ = 0;
  uint8_t scratch_ = 0;
  uint8_t divisor_low_ = 12;  // 9600 baud
  uint8_t divisor_high_ = 0;
};

}  // namespace vmm
