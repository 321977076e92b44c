// SerialLine: a UART at its place on a bus, its interrupt wire, and the console that it talks to. The chip is a 16550A
// (Serial), at eight ports, or a PL011 (ArmSerial).
//
// vCPU threads access the registers; the loop brings input and the news that output may go on. One mutex guards the
// chip, and is held while a level goes out to the wire and a byte to the backend, because both must arrive in the order
// in which the chip produced them. Neither of the two blocks.
//
// Output: a byte goes to the backend's buffer at once. When that is full the byte stays in the chip, so the guest
// finds THRE clear and waits, alone; the backend's on_writable sends it on. The backend bounds that wait: a reader that
// stalls for a second loses output instead (char_backend.h), so that nobody's terminal can hang a guest.
// Input: only what the receive FIFO has room for is taken; when the guest has emptied it, more is asked for.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

#include "devices/arm/pl011.h"
#include "devices/backends/char/char_backend.h"
#include "devices/device.h"
#include "devices/irq.h"
#include "devices/pc/uart16550.h"

namespace vmm {

template <typename Chip>
class SerialLine : public Device {
 public:
  static constexpr uint64_t kPorts = Chip::kRegisters;

  // Takes over the backend's input and on_writable, on the loop's thread; gives them back when destroyed.
  SerialLine(IrqLine& irq, CharBackend& backend);
  SerialLine(const SerialLine&) = delete;
  SerialLine& operator=(const SerialLine&) = delete;
  ~SerialLine() override;

  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;

  // A BREAK on the line, after the input that has been taken so far, and perhaps a key behind it. Any thread.
  void send_break(std::optional<uint8_t> key = {});

 private:
  size_t on_input(std::span<const std::byte> bytes);
  void on_writable();
  void transmit();
  void settle();
  bool wants_input();

  IrqLine& irq_;
  CharBackend& backend_;
  std::mutex mutex_;
  Chip chip_;
  bool level_ = false;          // of the wire
  bool break_waits_ = false;    // for room in the receive FIFO
  std::optional<uint8_t> key_;  // the same, behind the BREAK
  bool input_refused_ = false;  // the backend has more than we took
};

using Serial = SerialLine<Uart16550>;
using ArmSerial = SerialLine<Pl011>;

}  // namespace vmm
