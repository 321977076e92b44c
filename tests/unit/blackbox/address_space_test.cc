// Page walks through tables good and bad.
#include "vmm/blackbox/address_space.h"

#include <array>
#include <catch2/catch.hpp>

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
