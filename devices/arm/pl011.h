// Pl011: ARM's PrimeCell UART: 32-byte FIFOs, one interrupt pin. PL011 Technical Reference Manual, r1p5 (ARM DDI
// 0183G).
//
// It knows neither bus nor wire nor time; serial.h is the glue around it. The line has no speed, so a byte that is
// written is offered to the outside at once, the divisors are only remembered, and the receive timeout, for bytes below
// the FIFO's trigger level, is raised immediately. There is no DMA, no IrDA, and whoever is at the other end is ready.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>

namespace vmm {

class Pl011 {
 public:
  static constexpr size_t kRegisters = 0x1000;  // bytes of its window
  static constexpr size_t kFifoSize = 32;

  // The guest's side: registers by offset, at any width up to a word; a wider access reads as zeroes behind.
  void read(uint64_t offset, std::span<std::byte> data);
  void write(uint64_t offset, std::span<const std::byte> data);
  // The level of the combined interrupt pin, UARTINTR.
  bool interrupt() const { return (raw_interrupts() & interrupt_mask_) != 0; }

  // The receiver's side of the line. receive() and receive_break() need room.
  size_t receive_room() const;
  bool received() const { return !receive_.empty(); }  // bytes that the guest has not read
  void receive(uint8_t byte) { push_received(byte); }
  void receive_break();

  // The transmitter's side of the line: the oldest byte that waits, and the news that the outside has taken it.
  bool transmitting() const { return !transmit_.empty(); }
  uint8_t transmit_front() const { return transmit_.front(); }
  void transmitted();

 private:
  bool fifo_enabled() const;
  bool looped() const;
  size_t fifo_capacity() const { return fifo_enabled() ? kFifoSize : 1; }
  size_t trigger(unsigned level) const;
  uint32_t raw_interrupts() const;
  uint32_t flags() const;
  uint32_t read_register(uint64_t offset);
  void write_register(uint64_t offset, uint32_t value);
  uint32_t read_data();
  void write_data(uint8_t byte);
  void write_line_control(uint32_t value);
  void push_received(uint16_t entry);

  std::deque<uint16_t> receive_;  // with the error bits of UARTDR; both at most fifo_capacity()
  std::deque<uint8_t> transmit_;
  uint32_t receive_status_ = 0;    // UARTRSR
  uint32_t control_ = 0x300;       // UARTCR: TXE and RXE
  uint32_t line_control_ = 0;      // UARTLCR_H
  uint32_t integer_divisor_ = 0;   // UARTIBRD
  uint32_t fraction_divisor_ = 0;  // UARTFBRD
  uint32_t fifo_levels_ = 0x12;    // UARTIFLS: half full, both
  uint32_t interrupt_mask_ = 0;    // UARTIMSC
  uint32_t dma_control_ = 0;       // UARTDMACR
  uint32_t latched_ = 0;           // bits of UARTRIS that only a write to UARTICR clears
};

}  // namespace vmm
