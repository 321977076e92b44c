// The glue between chip, bus, wire and console; see serial.h.
#include "devices/pc/serial.h"

#include <utility>

namespace vmm {

namespace {

// The registers of a 16550A are bytes.
void read_chip(Uart16550& chip, uint64_t offset, std::span<std::byte> data) {
  for (std::byte& byte : data) byte = std::byte{chip.read(offset++)};
}
void write_chip(Uart16550& chip, uint64_t offset, std::span<const std::byte> data) {
  for (const std::byte byte : data) chip.write(offset++, std::to_integer<uint8_t>(byte));
}
void read_chip(Pl011& chip, uint64_t offset, std::span<std::byte> data) { chip.read(offset, data); }
void write_chip(Pl011& chip, uint64_t offset, std::span<const std::byte> data) { chip.write(offset, data); }

}  // namespace

template <typename Chip>
SerialLine<Chip>::SerialLine(IrqLine& irq, CharBackend& backend) : irq_(irq), backend_(backend) {
  backend_.set_on_writable([this] { on_writable(); });
  backend_.set_input([this](std::span<const std::byte> bytes) { return on_input(bytes); });
}

template <typename Chip>
SerialLine<Chip>::~SerialLine() {
  backend_.set_input(nullptr);
  backend_.set_on_writable(nullptr);
}

template <typename Chip>
void SerialLine<Chip>::read(uint64_t offset, std::span<std::byte> data) {
  bool resume = false;
  {
    const std::lock_guard lock(mutex_);
    read_chip(chip_, offset, data);
    settle();
    resume = wants_input();
  }
  if (resume) backend_.resume_input();
}

template <typename Chip>
void SerialLine<Chip>::write(uint64_t offset, std::span<const std::byte> data) {
  bool resume = false;
  {
    const std::lock_guard lock(mutex_);
    write_chip(chip_, offset, data);
    transmit();
    settle();
    resume = wants_input();
  }
  if (resume) backend_.resume_input();
}

template <typename Chip>
void SerialLine<Chip>::send_break(std::optional<uint8_t> key) {
  const std::lock_guard lock(mutex_);
  break_waits_ = true;
  key_ = key;
  settle();
}

template <typename Chip>
size_t SerialLine<Chip>::on_input(std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  size_t taken = 0;
  while (taken < bytes.size() && !break_waits_ && !key_ && chip_.receive_room() > 0) {
    chip_.receive(std::to_integer<uint8_t>(bytes[taken++]));
  }
  input_refused_ = taken < bytes.size();
  settle();
  return taken;
}

template <typename Chip>
void SerialLine<Chip>::on_writable() {
  const std::lock_guard lock(mutex_);
  transmit();
  settle();
}

// Hands the backend what it takes. A refused byte stays first in the chip.
template <typename Chip>
void SerialLine<Chip>::transmit() {
  while (chip_.transmitting()) {
    const std::byte byte{chip_.transmit_front()};
    if (backend_.write({&byte, 1}) == 0) return;
    chip_.transmitted();
  }
}

// Brings the line and the wire up to date with the chip.
template <typename Chip>
void SerialLine<Chip>::settle() {
  if (break_waits_ && chip_.receive_room() > 0) {
    chip_.receive_break();
    break_waits_ = false;
  }
  if (!break_waits_ && key_ && chip_.receive_room() > 0) chip_.receive(*std::exchange(key_, std::nullopt));
  const bool level = chip_.interrupt();
  if (std::exchange(level_, level) != level) irq_.set(level);
}

// True once when there is room for input that was refused. Waits for an empty FIFO, to wake the loop once per FIFO.
template <typename Chip>
bool SerialLine<Chip>::wants_input() {
  const bool empty = chip_.receive_room() > 0 && !chip_.received();
  return empty && !break_waits_ && !key_ && std::exchange(input_refused_, false);
}

template class SerialLine<Uart16550>;
template class SerialLine<Pl011>;

}  // namespace vmm
