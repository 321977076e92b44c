// The page walk; see address_space.h.
#include "vmm/blackbox/address_space.h"

#include <algorithm>
#include <array>
#include <variant>

namespace vmm {

namespace {

constexpr uint64_t kPageSize = PhysicalMemory::kPageSize;  // the least that any of them has
constexpr uint64_t kX86Frame = 0x000ffffffffff000;         // bits 51:12
constexpr uint64_t kArm64Frame = 0x0000fffffffff000;       // bits 47:12

constexpr uint64_t low_bits(unsigned count) { return (uint64_t{1} << count) - 1; }

// Where an entry leads: to a page, to the next table, or nowhere.
struct Step {
  bool is_page = false;
  uint64_t address = 0;
};
std::optional<Step> follow(PagingFormat::Entries entries, uint64_t entry, unsigned level) {
  constexpr uint64_t kPresent = 1;
  constexpr uint64_t kX86Large = 1 << 7;
  constexpr uint64_t kArm64TableOrPage = 1 << 1;  // clear: a block, which the last level has not
  if ((entry & kPresent) == 0) return std::nullopt;
  if (entries == PagingFormat::Entries::kX86) {
    const bool is_large = (level == 2 || level == 3) && (entry & kX86Large) != 0;
    return Step{level == 1 || is_large, entry & kX86Frame};
  }
  const bool is_block = (entry & kArm64TableOrPage) == 0;
  if (is_block && level == 1) return std::nullopt;
  return Step{level == 1 || is_block, entry & kArm64Frame};
}

// Whether the bits above those that are translated are as the CPU wants them: on x86 like the highest of those, on
// arm64 ones in the upper half, and zeroes in the lower one.
bool is_canonical(uint64_t address, const PagingFormat& format) {
  const int64_t above = static_cast<int64_t>(address) >> (format.address_bits - 1);
  if (format.entries == PagingFormat::Entries::kX86) return above == 0 || above == -1;
  return above >> 1 == (format.upper_half ? -1 : 0);
}

}  // namespace

PagingFormat PagingFormat::x86(unsigned levels) { return {Entries::kX86, 12, 12 + 9 * levels}; }

std::optional<PagingFormat> PagingFormat::arm64(uint64_t page_size, uint64_t address_bits) {
  constexpr unsigned kFewest = 25, kMost = 52;
  constexpr std::array<unsigned, 3> kPageBits{12, 14, 16};
  const auto page_bits = std::ranges::find(kPageBits, page_size, [](unsigned bits) { return uint64_t{1} << bits; });
  if (page_bits == kPageBits.end() || address_bits < kFewest || address_bits > kMost) return std::nullopt;
  return PagingFormat{Entries::kArm64, *page_bits, static_cast<unsigned>(address_bits)};
}

std::optional<AddressSpace> AddressSpace::of(const PhysicalMemory& memory, const X86Registers& cpu) {
  constexpr uint64_t kPaging = uint64_t{1} << 31;          // CR0.PG
  constexpr uint64_t kLongModeActive = uint64_t{1} << 10;  // EFER.LMA
  constexpr uint64_t kFiveLevels = uint64_t{1} << 12;      // CR4.LA57
  if ((cpu.cr0 & kPaging) == 0 || (cpu.efer & kLongModeActive) == 0) return std::nullopt;
  return AddressSpace(memory, {cpu.cr3 & kX86Frame}, PagingFormat::x86((cpu.cr4 & kFiveLevels) != 0 ? 5 : 4));
}

namespace {

// One of the two halves, by the part of TCR_EL1 that is its own.
std::optional<AddressSpace> arm64_half(const PhysicalMemory& memory, uint64_t unused_bits, uint64_t page_size, bool off,
                                       uint64_t ttbr, bool upper_half) {
  constexpr uint64_t kTable = 0x0000ffffffffffc0;  // TTBRn_EL1.BADDR, aligned to 64 bytes at least
  auto format = PagingFormat::arm64(page_size, 64 - unused_bits);
  if (off || !format) return std::nullopt;
  format->upper_half = upper_half;
  return AddressSpace(memory, {ttbr & kTable}, *format);
}

}  // namespace

std::optional<AddressSpace> AddressSpace::of(const PhysicalMemory& memory, const Arm64Registers& cpu) {
  constexpr std::array<uint64_t, 4> kPageSizes{0, 16384, 4096, 65536};  // by TCR_EL1.TG1
  const uint64_t tcr = cpu.tcr_el1;                                     // T1SZ, TG1, EPD1
  const bool off = !cpu.has_paging() || (tcr >> 23 & 1) != 0;
  return arm64_half(memory, tcr >> 16 & 0x3f, kPageSizes[tcr >> 30 & 3], off, cpu.ttbr1_el1, true);
}

std::optional<AddressSpace> AddressSpace::lower_half_of(const PhysicalMemory& memory, const Arm64Registers& cpu) {
  constexpr std::array<uint64_t, 4> kPageSizes{4096, 65536, 16384, 0};  // by TCR_EL1.TG0
  const uint64_t tcr = cpu.tcr_el1;                                     // T0SZ, TG0, EPD0
  const bool off = !cpu.has_paging() || (tcr >> 7 & 1) != 0;
  return arm64_half(memory, tcr & 0x3f, kPageSizes[tcr >> 14 & 3], off, cpu.ttbr0_el1, false);
}

std::optional<AddressSpace> AddressSpace::of(const PhysicalMemory& memory, const CpuState& cpu) {
  return std::visit([&memory](const auto& registers) { return of(memory, registers); }, cpu.registers);
}

AddressSpace AddressSpace::behind_isolation() const {
  constexpr uint64_t kX86UserTables = 1 << 12;
  const uint64_t full = format_.entries == PagingFormat::Entries::kX86
                            ? root_.value & ~kX86UserTables
                            : root_.value + (uint64_t{2} << format_.page_bits);
  return AddressSpace(*memory_, {full}, format_);
}

std::optional<GuestAddress> AddressSpace::translate(uint64_t address) const {
  if (!is_canonical(address, format_)) return std::nullopt;
  const uint64_t translated = address & low_bits(format_.address_bits);
  uint64_t table = root_.value;
  for (unsigned level = format_.levels(); level > 0; --level) {
    const unsigned shift = format_.page_bits + format_.index_bits() * (level - 1);
    const uint64_t index = translated >> shift & low_bits(format_.index_bits());
    const auto entry = memory_->read<uint64_t>(GuestAddress{table + index * sizeof(uint64_t)});
    const auto step = entry ? follow(format_.entries, *entry, level) : std::nullopt;
    if (!step) return std::nullopt;
    const uint64_t inside = low_bits(step->is_page ? shift : format_.page_bits);
    table = step->address & ~inside;
    if (step->is_page) return GuestAddress{table | (address & inside)};
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
