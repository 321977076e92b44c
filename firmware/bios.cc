// The real-mode vectors and the BIOS data area; see bios.h, and the picture in layout_x86_64.h.
#include "firmware/bios.h"

#include <array>
#include <cstddef>
#include <cstdint>

#include "firmware/bytes.h"
#include "firmware/layout_x86_64.h"

namespace vmm {
namespace {

constexpr uint8_t kIret = 0xcf;
// The handler of devices' interrupts: the carry flag is the interrupted program's.
constexpr std::array<uint8_t, 1> kReturn{kIret};
// The handler of services: push bp; mov bp, sp; or byte [bp + 6], 1; pop bp; mov ah, 0x86; iret. On the stack are IP,
// CS and FLAGS, and the carry flag is bit 0 of the last.
constexpr std::array<uint8_t, 11> kNotSupported{0x55, 0x89, 0xe5, 0x80, 0x4e, 0x06, 0x01, 0x5d, 0xb4, 0x86, kIret};

struct FarPointer {  // as real mode has it in memory
  uint16_t offset;
  uint16_t segment;
};

FarPointer far_pointer(uint64_t address) {
  return {static_cast<uint16_t>(address & 0xf), static_cast<uint16_t>(address >> 4)};
}

// Where a PC has exceptions and interrupt controllers; the exceptions beyond 7 share their numbers with the first one.
bool is_hardware(size_t vector) { return vector < 0x10 || (vector >= 0x70 && vector < 0x78); }

}  // namespace

void write_bios(const GuestMemory& memory) {
  constexpr uint64_t kReturnAt = kBiosCode.value, kNotSupportedAt = kReturnAt + 0x10;
  put(memory, GuestAddress{kReturnAt}, kReturn);
  put(memory, GuestAddress{kNotSupportedAt}, kNotSupported);
  std::array<FarPointer, 256> vectors{};
  for (size_t vector = 0; vector < vectors.size(); ++vector) {
    vectors[vector] = far_pointer(is_hardware(vector) ? kReturnAt : kNotSupportedAt);
  }
  put(memory, GuestAddress{0}, vectors);

  constexpr uint64_t kExtendedAreaSegment = 0x0e, kBaseMemoryKib = 0x13;
  const auto field = [](uint64_t offset) { return GuestAddress{kBiosDataArea.value + offset}; };
  put(memory, field(kExtendedAreaSegment), static_cast<uint16_t>(kReservedStart.value >> 4));
  put(memory, field(kBaseMemoryKib), static_cast<uint16_t>(kReservedStart.value / 1024));
}

}  // namespace vmm
