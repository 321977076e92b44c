// SystemControl: system control port A at 0x92, of the PS/2 (IBM PS/2 Hardware Interface Technical Reference, "System
// Control Port A"). Bit 0 going from 0 to 1 resets the machine, quicker than by the keyboard controller; bit 1 opens
// address line 20, which here is always open, so it keeps what is written and does nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

#include "devices/device.h"

namespace vmm {

class SystemControl : public Device {
 public:
  static constexpr uint64_t kPorts = 1;
  enum : uint8_t { FAST_RESET = 0x01, A20 = 0x02 };

  // `reset` is called on the vCPU's thread.
  explicit SystemControl(std::function<void()> reset) : reset_(std::move(reset)) {}

  void read(uint64_t, std::span<std::byte> data) override { data.front() = std::byte{value_.load()}; }
  void write(uint64_t, std::span<const std::byte> data) override {
    const auto value = static_cast<uint8_t>(std::to_integer<uint8_t>(data.front()) & (FAST_RESET | A20));
    const uint8_t before = value_.exchange(value);
    if ((value & ~before & FAST_RESET) != 0) reset_();
  }

 private:
  std::function<void()> reset_;
  std::atomic<uint8_t> value_{A20};
};

}  // namespace vmm
