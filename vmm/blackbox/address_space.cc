// The page walk; see address_space.h.
#include "vmm/blackbox/address_space.h"

#include <algorithm>

namespace vmm {

namespace {

constexpr unsigned kPageShift = 12;
constexpr unsigned kIndexBits = 9;
constexpr uint64_t kPageSize = uint64_t{1} << kPageShift;
constexpr uint64_t kPresent = 1;
constexpr uint64_t kLarge = 1 << 7;
constexpr uint64_t kFrame = 0x000ffffffffff000;  // bits 51:12

}  // namespace

std::optional<AddressSpace> AddressSpace::of(const PhysicalMemory& memory, const CpuState& cpu) {
  constexpr uint64_t kPaging = uint64_t{1} << 31;          // CR0.PG
  constexpr uint64_t kLongModeActive = uint64_t{1} << 10;  // EFER.LMA
  constexpr uint64_t kFiveLevels = uint64_t{1} << 12;      // CR4.LA57
  if ((cpu.cr0 & kPaging) == 0 || (cpu.efer & kLongModeActive) == 0) return std::nullopt;
  return AddressSpace(memory, {cpu.cr3 & kFrame}, (cpu.cr4 & kFiveLevels) != 0 ? 5 : 4);
}

std::optional<GuestAddress> AddressSpace::translate(uint64_t address) const {
  // All bits above the highest one translated equal it.
  const unsigned unused = 64 - (kPageShift + kIndexBits * levels_);
  if (static_cast<uint64_t>(static_cast<int64_t>(address << unused) >> unused) != address) return std::nullopt;
  uint64_t table = root_.value;
  for (unsigned level = levels_; level > 0; --level) {
    const unsigned shift = kPageShift + kIndexBits * (level - 1);
    const uint64_t index = address >> shift & ((1 << kIndexBits) - 1);
    const auto entry = memory_->read<uint64_t>(GuestAddress{table + index * sizeof(uint64_t)});
    if (!entry || (*entry & kPresent) == 0) return std::nullopt;
    const uint64_t inside = (uint64_t{1} << shift) - 1;
    const bool is_page = level == 1 || ((level == 2 || level == 3) && (*entry & kLarge) != 0);
    if (is_page) return GuestAddress{(*entry & kFrame & ~inside) | (address & inside)};
    table = *entry & kFrame;
  }
  return std::nullopt;
}

size_t AddressSpace::read_some(uint64_t address, std::span<std::byte> to) const {
  size_t done = 0;
  while (done < to.size()) {
    uint64_t at = 0;
    if (__builtin_add_overflow(address, done, &at)) break;
    const size_t part = std::min<uint64_t>(to.size() - done, kPageSize - at % kPageSize);
    const auto physical = translate(at);
    if (!physical || !memory_->read(*physical, to.subspan(done, part))) break;
    done += part;
  }
  return done;
}

bool AddressSpace::read(uint64_t address, std::span<std::byte> to) const { return read_some(address, to) == to.size(); }

}  // namespace vmm
