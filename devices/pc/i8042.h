// I8042: the keyboard controller (ports 0x60 and 0x64), for what is still asked of it on a machine with no keyboard:
// the reset line. Everything else answers at once as a working controller with nothing plugged in and no auxiliary
// port, as in the PC/AT: a driver that found one would wait for its interrupt. It raises no interrupts. IBM PS/2
// Technical Reference, "Keyboard and Auxiliary Device Controller".
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>

#include "devices/device.h"

namespace vmm {

class I8042 : public Device {
 public:
  static constexpr uint64_t kPorts = 5;  // 0x60 to 0x64; those between are not its own and read as ones

  // `reset` is called on the thread of the vCPU that pulled the line.
  explicit I8042(std::function<void()> reset) : reset_(std::move(reset)) {}

  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;

 private:
  uint8_t read_data();
  uint8_t read_status() const;
  bool write_data(uint8_t value);
  bool write_command(uint8_t command);

  std::function<void()> reset_;
  std::mutex mutex_;
  uint8_t configuration_ = 0x30;  // both ports' clocks off, no interrupts
  uint8_t expecting_ = 0;         // the command whose parameter byte comes next; 0 is none
  std::optional<uint8_t> output_;
  bool timed_out_ = false;  // `output_` is there because a device gave no answer
};

}  // namespace vmm
