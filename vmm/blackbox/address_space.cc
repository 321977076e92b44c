// The page walk; see address_space.h.
#include "vmm/blackbox/address_space.h"

#include <algorithm>
#include <variant>

namespace vmm {

namespace {

constexpr uint64_t kPageSize = PhysicalMemory::kPageSize;
constexpr uint64_t kFrame = 0x000ffffffffff000;  // bits 51:12
constexpr uint64_t kPresent = 1;
constexpr uint64_t kLarge = 1 << 7;

constexpr uint64_t low_bits(unsigned count) { return (uint64_t{1} << count) - 1; }

}  // namespace

PagingFormat PagingFormat::x86(unsigned levels) { return {12, 12 + 9 * levels}; }

std::optional<AddressSpace> AddressSpace::of(const PhysicalMemory& memory, const X86Registers& cpu) {
  constexpr uint64_t kPaging = uint64_t{1} << 31;          // CR0.PG
  constexpr uint64_t kLongModeActive = uint64_t{1} << 10;  // EFER.LMA
  constexpr uint64_t kFiveLevels = uint64_t{1} << 12;      // CR4.LA57
  if ((cpu.cr0 & kPaging) == 0 || (cpu.efer & kLongModeActive) == 0) return std::nullopt;
  return AddressSpace(memory, {cpu.cr3 & kFrame}, PagingFormat::x86((cpu.cr4 & kFiveLevels) != 0 ? 5 : 4));
}

std::optional<AddressSpace> AddressSpace::of(const PhysicalMemory& memory, const CpuState& cpu) {
  return std::visit([&memory](const auto& registers) { return of(memory, registers); }, cpu.registers);
}

std::optional<GuestAddress> AddressSpace::translate(uint64_t address) const {
  const int64_t above = static_cast<int64_t>(address) >> (format_.address_bits - 1);
  if (above != 0 && above != -1) return std::nullopt;
  const uint64_t translated = address & low_bits(format_.address_bits);
  uint64_t table = root_.value;
  for (unsigned level = format_.levels(); level > 0; --level) {
    const unsigned shift = format_.page_bits + format_.index_bits() * (level - 1);
    const uint64_t index = translated >> shift & low_bits(format_.index_bits());
    const auto entry = memory_->read<uint64_t>(GuestAddress{table + index * sizeof(uint64_t)});
    if (!entry || (*entry & kPresent) == 0) return std::nullopt;
    const bool is_page = level == 1 || ((level == 2 || level == 3) && (*entry & kLarge) != 0);
    const uint64_t inside = low_bits(is_page ? shift : format_.page_bits);
    table = *entry & kFrame & ~inside;
    if (is_page) return GuestAddress{table | (address & inside)};
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
