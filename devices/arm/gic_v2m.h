// GicV2m: the message frame beside a GICv2: a write of an interrupt's number to a register of its raises that. So
// devices can send messages where there is no ITS. Arm Server Base System Architecture (ARM DEN 0029), appendix E.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <utility>

#include "devices/device.h"
#include "devices/register_map.h"

namespace vmm {

class GicV2m : public Device {
 public:
  static constexpr uint64_t kSize = 0x1000;
  static constexpr uint64_t kSetSpi = 0x40;  // MSI_SETSPI_NS

  // Interrupts `first` to first + count - 1, by INTID. `raise` is called with one of them, on any thread.
  GicV2m(uint32_t first, uint32_t count, std::function<void(uint32_t)> raise)
      : first_(first), count_(count), raise_(std::move(raise)) {}

  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;
  // False when it is none of its interrupts.
  bool send(uint32_t number) const {
    if (number < first_ || number - first_ >= count_) return false;
    raise_(number);
    return true;
  }

 private:
  struct Registers;

  const uint32_t first_;
  const uint32_t count_;
  const std::function<void(uint32_t)> raise_;
};

struct GicV2m::Registers {
  static uint64_t type(GicV2m& frame) { return uint64_t{frame.first_} << 16 | frame.count_; }
  static uint64_t nothing(GicV2m&) { return 0; }
  static void raise(GicV2m& frame, uint64_t number) { frame.send(static_cast<uint32_t>(number)); }

  static constexpr std::array<Register<GicV2m>, 2> kMap = {{
      {0x008, 4, type},  // MSI_TYPER
      {kSetSpi, 4, nothing, raise},
  }};
};

inline void GicV2m::read(uint64_t offset, std::span<std::byte> data) {
  read_registers<GicV2m>(Registers::kMap, *this, offset, data);
}
inline void GicV2m::write(uint64_t offset, std::span<const std::byte> data) {
  write_registers<GicV2m>(Registers::kMap, *this, offset, data);
}

}  // namespace vmm
