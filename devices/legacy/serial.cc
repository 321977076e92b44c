// The glue between chip, bus, wire and console; see serial.h.
#include "devices/legacy/serial.h"

#include <utility>

namespace vmm {

Serial::Serial(IrqLine& irq, CharBackend& backend) : irq_(irq), backend_(backend) {
  backend_.set_on_writable([this] { on_writable(); });
  backend_.set_input([this](std::span<const std::byte> bytes) { return on_input(bytes); });
}

Serial::~Serial() {
  backend_.set_input(nullptr);
  backend_.set_on_writable(nullptr);
}

void Serial::read(uint64_t offset, std::span<std::byte> data) {
  bool resume = false;
  {
    const std::lock_guard lock(mutex_);
    for (std::byte& byte : data) byte = std::byte{chip_.read(offset++)};
    settle();
    resume = wants_input();
  }
  if (resume) backend_.resume_input();
}

void Serial::write(uint64_t offset, std::span<const std::byte> data) {
  bool resume = false;
  {
    const std::lock_guard lock(mutex_);
    for (const std::byte byte : data) chip_.write(offset++, std::to_integer<uint8_t>(byte));
    transmit();
    settle();
    resume = wants_input();
  }
  if (resume) backend_.resume_input();
}

void Serial::send_break(std::optional<uint8_t> key) {
  const std::lock_guard lock(mutex_);
  break_waits_ = true;
  key_ = key;
  settle();
}

size_t Serial::on_input(std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  size_t taken = 0;
  while (taken < bytes.size() && !break_waits_ && !key_ && chip_.receive_room() > 0) {
    chip_.receive(std::to_integer<uint8_t>(bytes[taken++]));
  }
  input_refused_ = taken < bytes.size();
  settle();
  return taken;
}

void Serial::on_writable() {
  const std::lock_guard lock(mutex_);
  transmit();
  settle();
}

// Hands the backend what it takes. A refused byte stays first in the chip.
void Serial::transmit() {
  while (chip_.transmitting()) {
    const std::byte byte{chip_.transmit_front()};
    if (backend_.write({&byte, 1}) == 0) return;
    chip_.transmitted();
  }
}

// Brings the line and the wire up to date with the chip.
void Serial::settle() {
  if (break_waits_ && chip_.receive_room() > 0) {
    chip_.receive_break();
    break_waits_ = false;
  }
  if (!break_waits_ && key_ && chip_.receive_room() > 0) chip_.receive(*std::exchange(key_, std::nullopt));
  const bool level = chip_.interrupt();
  if (std::exchange(level_, level) != level) irq_.set(level);
}

// True once when there is room for input that was refused. Waits for an empty FIFO, to wake the loop once per 16 bytes.
bool Serial::wants_input() {
  const bool empty = chip_.receive_room() > 0 && !chip_.received();
  return empty && !break_waits_ && !key_ && std::exchange(input_refused_, false);
}

}  // namespace vmm
