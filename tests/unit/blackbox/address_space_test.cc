// Page walks through tables good and bad.
#include "vmm/blackbox/address_space.h"

#include <array>
#include <catch2/catch.hpp>
#include <vector>

using namespace vmm;

namespace {

constexpr uint64_t kRam = 0x200000;
constexpr uint64_t kPresent = 1, kLarge = 0x80, kNoExecute = uint64_t{1} << 63;

struct Tables {
  GuestMemory memory{std::array{GuestMemory::Range{{0}, kRam}}};

  void set(uint64_t table, uint64_t index, uint64_t entry) {
    REQUIRE(memory.write_value(GuestAddress{table + index * 8}, entry));
  }
  // Four tables at 0x1000 to 0x4000, from the root to the one of small pages.
  Tables() {
    set(0x1000, 1, 0x2000 | kPresent);
    set(0x2000, 2, 0x3000 | kPresent);
    set(0x3000, 3, 0x4000 | kPresent);
  }
  static constexpr uint64_t kStart = uint64_t{1} << 39 | uint64_t{2} << 30 | uint64_t{3} << 21;
  AddressSpace space(unsigned levels = 4) const {
    return {memory, {levels == 4 ? 0x1000u : 0x5000u}, PagingFormat::x86(levels)};
  }
};

X86Registers long_mode(uint64_t cr3) {
  X86Registers cpu;
  cpu.cr0 = 0x80000001;
  cpu.efer = 0x500;
  cpu.cr3 = cr3;
  return cpu;
}

}  // namespace

TEST_CASE("address space: small, 2 MiB and 1 GiB pages are found", "[blackbox]") {
  Tables tables;
  tables.set(0x4000, 4, 0x7000 | kPresent | kNoExecute);
  tables.set(0x3000, 5, 0x600000 | kPresent | kLarge);
  tables.set(0x2000, 6, 0x40000000 | kPresent | kLarge);
  const AddressSpace space = tables.space();
  CHECK(space.translate(Tables::kStart + 0x4abc) == GuestAddress{0x7abc});
  CHECK(space.translate((uint64_t{1} << 39) + (uint64_t{2} << 30) + (5 << 21) + 0x12345) == GuestAddress{0x612345});
  CHECK(space.translate((uint64_t{1} << 39) + (uint64_t{6} << 30) + 0x1234567) == GuestAddress{0x41234567});
}

TEST_CASE("address space: what is not there is not found", "[blackbox]") {
  Tables tables;
  tables.set(0x3000, 7, 0x5000000 | kPresent);  // a table beyond RAM
  tables.set(0x4000, 8, 0x7000);                // not present
  const AddressSpace space = tables.space();
  CHECK_FALSE(space.translate(0));
  CHECK_FALSE(space.translate(Tables::kStart + 0x8000));
  CHECK_FALSE(space.translate((uint64_t{1} << 39) + (uint64_t{2} << 30) + (7 << 21)));
  CHECK_FALSE(space.translate(Tables::kStart | uint64_t{1} << 48));  // not canonical
  CHECK_FALSE(space.translate(UINT64_MAX));
}

TEST_CASE("address space: five levels", "[blackbox]") {
  Tables tables;
  tables.set(0x5000, 9, 0x1000 | kPresent);
  tables.set(0x4000, 4, 0x7000 | kPresent);
  CHECK(tables.space(5).translate((uint64_t{9} << 48) + Tables::kStart + 0x4abc) == GuestAddress{0x7abc});
  CHECK_FALSE(tables.space(5).translate(Tables::kStart + 0x4abc));
}

TEST_CASE("address space: a read crosses pages that lie apart, and ends at a hole", "[blackbox]") {
  Tables tables;
  tables.set(0x4000, 4, 0x9000 | kPresent);
  tables.set(0x4000, 5, 0x7000 | kPresent);
  tables.memory.write_value(GuestAddress{0x9ffc}, uint32_t{0x11111111});
  tables.memory.write_value(GuestAddress{0x7000}, uint32_t{0x22222222});
  const AddressSpace space = tables.space();
  CHECK(space.read<uint64_t>(Tables::kStart + 0x4ffc) == 0x2222222211111111u);
  CHECK_FALSE(space.read<uint64_t>(Tables::kStart + 0x5ffc));
  std::array<std::byte, 8192> buffer;
  CHECK(space.read_some(Tables::kStart + 0x4800, buffer) == 0x1800);
  CHECK(space.read_some(UINT64_MAX - 3, buffer) == 0);
}

TEST_CASE("address space: a CPU has one in 64-bit mode with paging", "[blackbox]") {
  Tables tables;
  tables.set(0x5000, 9, 0x1000 | kPresent);
  tables.set(0x4000, 4, 0x7000 | kPresent);
  X86Registers cpu = long_mode(0x1000 | 0xfff);  // with a PCID
  REQUIRE(AddressSpace::of(tables.memory, cpu));
  CHECK(AddressSpace::of(tables.memory, cpu)->translate(Tables::kStart + 0x4000) == GuestAddress{0x7000});
  cpu = long_mode(0x5000);
  cpu.cr4 = 1 << 12;
  CHECK(AddressSpace::of(tables.memory, cpu)->translate((uint64_t{9} << 48) + Tables::kStart + 0x4000));
  cpu.efer = 0;
  CHECK_FALSE(AddressSpace::of(tables.memory, cpu));
  cpu = long_mode(0x1000);
  cpu.cr0 = 1;
  CHECK_FALSE(AddressSpace::of(tables.memory, cpu));
}

TEST_CASE("address space: tables that lead to themselves end", "[blackbox]") {
  Tables tables;
  tables.set(0x1000, 0, 0x1000 | kPresent);
  CHECK(tables.space().translate(0x123) == GuestAddress{0x1123});
}

namespace {

constexpr uint64_t kArmTable = 3, kArmPage = 3, kArmBlock = 1;  // with bit 0: valid

struct ArmFormat {
  uint64_t page_size;
  unsigned address_bits;
  std::vector<unsigned> shifts;  // of each level's index in an address, from the root's
};

Arm64Registers arm_cpu(const ArmFormat& format, uint64_t root) {
  const uint64_t granule = format.page_size == 4096 ? 2 : format.page_size == 16384 ? 1 : 3;
  Arm64Registers cpu;
  cpu.sctlr_el1 = 1;
  cpu.tcr_el1 = granule << 30 | uint64_t{64 - format.address_bits} << 16;
  cpu.ttbr1_el1 = root;
  return cpu;
}

}  // namespace

TEST_CASE("address space: arm64 pages of every size, with addresses of every length", "[blackbox]") {
  const auto format =
      GENERATE(ArmFormat{4096, 39, {30, 21, 12}}, ArmFormat{4096, 48, {39, 30, 21, 12}},
               ArmFormat{4096, 52, {48, 39, 30, 21, 12}}, ArmFormat{16384, 36, {25, 14}},
               ArmFormat{16384, 47, {36, 25, 14}}, ArmFormat{16384, 48, {47, 36, 25, 14}},
               ArmFormat{65536, 42, {29, 16}}, ArmFormat{65536, 48, {42, 29, 16}}, ArmFormat{65536, 52, {42, 29, 16}});
  Tables tables;
  uint64_t address = ~uint64_t{0} << format.address_bits;
  const uint64_t page = 0x1f0000;
  for (size_t level = 0; level < format.shifts.size(); ++level) {
    const bool last = level + 1 == format.shifts.size();
    const uint64_t table = (level + 1) * format.page_size;
    const uint64_t index = level == 0 ? 1 : level + 5;
    tables.set(table, index, last ? page | kArmPage | uint64_t{0x6} << 52 : (table + format.page_size) | kArmTable);
    address |= index << format.shifts[level];
  }
  const Arm64Registers cpu = arm_cpu(format, format.page_size);
  const auto space = AddressSpace::of(tables.memory, cpu);
  REQUIRE(space);
  CHECK(space->format().levels() == format.shifts.size());
  CHECK(space->translate(address + 0xabc) == GuestAddress{page + 0xabc});
  CHECK(space->translate(address + format.page_size - 1) == GuestAddress{page + format.page_size - 1});
  CHECK_FALSE(space->translate(address + format.page_size));
  // The other half has tables of its own.
  CHECK_FALSE(space->translate(address & ~(~uint64_t{0} << format.address_bits)));
  CHECK_FALSE(space->translate(address & ~(uint64_t{1} << 63)));
}

TEST_CASE("address space: arm64 blocks, which the last level has not", "[blackbox]") {
  // A block's size is that of the last table's reach.
  const auto format =
      GENERATE(ArmFormat{4096, 39, {30, 21, 12}}, ArmFormat{16384, 36, {25, 14}}, ArmFormat{65536, 42, {29, 16}});
  Tables tables;
  const unsigned block_bits = format.shifts[format.shifts.size() - 2];
  const uint64_t root = 0x10000, second = 0x20000, block = uint64_t{3} << block_bits;
  const uint64_t start = ~uint64_t{0} << format.address_bits;
  const bool direct = format.shifts.size() == 2;  // the root's entries are blocks already
  if (!direct) tables.set(root, 0, second | kArmTable);
  tables.set(direct ? root : second, 2, block | kArmBlock);
  tables.set(direct ? root : second, 3, 0x30000 | kArmTable);
  tables.set(0x30000, 0, 0x7000 | kArmBlock);
  const auto space = AddressSpace::of(tables.memory, arm_cpu(format, root));
  REQUIRE(space);
  CHECK(space->translate(start + (uint64_t{2} << block_bits) + 0x123456) == GuestAddress{block + 0x123456});
  CHECK_FALSE(space->translate(start + (uint64_t{3} << block_bits)));
}

TEST_CASE("address space: an arm64 CPU has one of the kernel's half, once it is on", "[blackbox]") {
  Tables tables;
  tables.set(0x1000, 511, 0x40000000 | kArmBlock);
  const ArmFormat format{4096, 39, {30, 21, 12}};
  const uint64_t asid = uint64_t{0x1234} << 48, common = 1;
  const Arm64Registers good = arm_cpu(format, asid | 0x1000 | common);
  REQUIRE(AddressSpace::of(tables.memory, good));
  CHECK(AddressSpace::of(tables.memory, good)->translate(0xffffffffc0001234) == GuestAddress{0x40001234});
  CHECK(AddressSpace::of(tables.memory, CpuState{.registers = good}));
  Arm64Registers cpu = good;
  cpu.sctlr_el1 = 0;
  CHECK_FALSE(AddressSpace::of(tables.memory, cpu));
  cpu = good;
  cpu.tcr_el1 |= 1 << 23;  // EPD1
  CHECK_FALSE(AddressSpace::of(tables.memory, cpu));
  cpu = good;
  cpu.tcr_el1 &= ~(uint64_t{3} << 30);  // a reserved TG1
  CHECK_FALSE(AddressSpace::of(tables.memory, cpu));
  for (const uint64_t unused : {0u, 11u, 40u, 63u}) {
    cpu.tcr_el1 = uint64_t{2} << 30 | unused << 16;
    CHECK_FALSE(AddressSpace::of(tables.memory, cpu));
  }
}

TEST_CASE("address space: the lower half of arm64 has tables and pages of its own", "[blackbox]") {
  Tables tables;
  tables.set(0x10000, 1, 0x20000 | kArmTable);
  tables.set(0x20000, 2, 0x30000 | kArmPage);
  Arm64Registers cpu = arm_cpu({4096, 39, {30, 21, 12}}, 0x1000);
  cpu.ttbr0_el1 = uint64_t{7} << 48 | 0x10000;
  cpu.tcr_el1 |= 1 << 14 | (64 - 42);  // 64 KiB, and so two levels
  const auto space = AddressSpace::lower_half_of(tables.memory, cpu);
  REQUIRE(space);
  constexpr uint64_t kAddress = uint64_t{1} << 29 | 2 << 16;
  CHECK(space->translate(kAddress + 0xabcd) == GuestAddress{0x3abcd});
  CHECK_FALSE(space->translate(kAddress | ~uint64_t{0} << 42));
  CHECK_FALSE(space->translate(kAddress | uint64_t{1} << 42));
  cpu.tcr_el1 |= 1 << 7;  // EPD0
  CHECK_FALSE(AddressSpace::lower_half_of(tables.memory, cpu));
}
