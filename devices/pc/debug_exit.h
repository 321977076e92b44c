// DebugExit: a port that ends the machine with a status, compatible with QEMU's isa-debug-exit: a write of v ends with
// (v << 1) | 1, so that 0 can be told from success. Reads as zero.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>

#include "devices/device.h"

namespace vmm {

class DebugExit : public Device {
 public:
  static constexpr uint64_t kPorts = 4;

  // `exit` is called on the vCPU's thread with what was written, and the status: the 8 bits that a process keeps.
  explicit DebugExit(std::function<void(uint32_t, uint8_t)> exit) : exit_(std::move(exit)) {}

  void read(uint64_t, std::span<std::byte> data) override { std::fill(data.begin(), data.end(), std::byte{0}); }
  void write(uint64_t, std::span<const std::byte> data) override {
    uint32_t value = 0;
    std::memcpy(&value, data.data(), std::min(data.size(), sizeof value));
    exit_(value, static_cast<uint8_t>((value << 1) | 1));
  }

 private:
  std::function<void(uint32_t, uint8_t)> exit_;
};

}  // namespace vmm
