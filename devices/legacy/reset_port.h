// ResetPort: the reset control register at port 0xcf9, as in Intel's ICH (I/O controller hub data sheet, RST_CNT).
// SYS_RST chooses a whole reset, and RST_CPU going from 0 to 1 performs it. The FADT names it as the reset register.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

#include "devices/device.h"

namespace vmm {

class ResetPort : public Device {
 public:
  enum : uint8_t { SYS_RST = 0x02, RST_CPU = 0x04, FULL_RST = 0x08 };

  // `reset` is called on the vCPU's thread.
  explicit ResetPort(std::function<void()> reset) : reset_(std::move(reset)) {}

  void read(uint64_t, std::span<std::byte> data) override {
    for (std::byte& byte : data) byte = std::byte{value_};
  }
  void write(uint64_t, std::span<const std::byte> data) override {
    const auto value = std::to_integer<uint8_t>(data.front());
    value_ = value & (SYS_RST | FULL_RST);  // RST_CPU falls back by itself
    if ((value & SYS_RST) != 0 && (value & RST_CPU) != 0) reset_();
  }

 private:
  std::function<void()> reset_;
  std::atomic<uint8_t> value_{0};
};

}  // namespace vmm
