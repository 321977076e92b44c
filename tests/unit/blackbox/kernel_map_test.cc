// Where a kernel says it is, and what proves it.
#include "vmm/blackbox/kernel_map.h"

#include <array>
#include <catch2/catch.hpp>
#include <utility>

#include "tests/support/linux_memory.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kText = LinuxMemory::kImage + LinuxMemory::kCode;

}  // namespace

TEST_CASE("kernel map: the image and the tables are where VMCOREINFO says", "[blackbox]") {
  LinuxMemory linux;
  linux.write();
  const auto map = KernelMap::of(linux.memory, linux.vmcoreinfo());
  REQUIRE(map);
  CHECK(map->in_image(kText) == GuestAddress{LinuxMemory::kPhysical + LinuxMemory::kCode});
  CHECK(map->space.root() == GuestAddress{LinuxMemory::kPhysical + LinuxMemory::kTables});
  CHECK(map->space.translate(kText) == map->in_image(kText));
}

TEST_CASE("kernel map: without one of its lines there is none", "[blackbox]") {
  LinuxMemory linux;
  linux.info.erase(GENERATE("NUMBER(phys_base)", "SYMBOL(init_top_pgt)", "SYMBOL(_stext)"));
  CHECK_FALSE(KernelMap::of(linux.memory, linux.vmcoreinfo()));
}

TEST_CASE("kernel map: the tables of a CPU prove it, where there are any", "[blackbox]") {
  LinuxMemory linux;
  linux.write();
  const auto map = KernelMap::of(linux.memory, linux.vmcoreinfo()).value();
  const CpuState cpu = linux.cpu(0);
  CpuState other = cpu;
  other.x86()->cr3 = 0x3000;
  CpuState without_paging = cpu;
  without_paging.x86()->cr0 = 0;
  CHECK(map.is_proven(linux.memory, std::array{cpu}, kText));
  CHECK(map.is_proven(linux.memory, std::array{other, cpu}, kText));
  CHECK(map.is_proven(linux.memory, std::array{without_paging}, kText));
  CHECK(map.is_proven(linux.memory, {}, kText));
  CHECK_FALSE(map.is_proven(linux.memory, std::array{other, without_paging}, kText));
  CHECK_FALSE(map.is_proven(linux.memory, std::array{cpu}, kText + 0x200000));  // where its own tables have nothing
}

namespace {

constexpr uint64_t kLargePage = 0x200000;
constexpr uint64_t kFull = 0x200000, kOfUserSpace = 0x201000;  // page-table isolation has them so

// Has `tables` map a large page of the kernel's. What is below them is in the two pages from `lower` on.
void map_page(const LinuxMemory& linux, uint64_t tables, uint64_t lower, uint64_t address, uint64_t physical) {
  const auto put = [&linux](uint64_t at, uint64_t entry) { linux.memory.write_value(GuestAddress{at}, entry); };
  put(tables + 511 * 8, lower | 3);
  put(lower + 510 * 8, (lower + 0x1000) | 3);
  put(lower + 0x1000 + (address - LinuxMemory::kMap) / kLargePage * 8, physical | 0x83);
}

std::optional<uint64_t> image_by(const LinuxMemory& linux, uint64_t tables) {
  return mapped_x86_image(AddressSpace(linux.memory, {tables}, PagingFormat::x86(4)));
}

}  // namespace

TEST_CASE("kernel map: page tables tell where an x86 image begins, those of user space as well", "[blackbox]") {
  const LinuxMemory linux;
  CHECK_FALSE(image_by(linux, kFull));
  const uint64_t entry_code = LinuxMemory::kImage + 6 * kLargePage, physical = LinuxMemory::kPhysical;
  map_page(linux, kFull, 0x300000, LinuxMemory::kImage, physical);
  map_page(linux, kFull, 0x300000, entry_code, physical + kLargePage);
  map_page(linux, kOfUserSpace, 0x400000, entry_code, physical + kLargePage);
  CHECK(image_by(linux, kFull) == LinuxMemory::kImage);
  CHECK(image_by(linux, kOfUserSpace) == LinuxMemory::kImage);
}

TEST_CASE("kernel map: without page-table isolation the page before a CPU's tables says nothing", "[blackbox]") {
  const LinuxMemory linux;
  map_page(linux, kOfUserSpace, 0x400000, LinuxMemory::kImage, LinuxMemory::kPhysical);
  CHECK(image_by(linux, kOfUserSpace) == LinuxMemory::kImage);
  map_page(linux, kFull, 0x300000, LinuxMemory::kImage - kLargePage, LinuxMemory::kPhysical);
  map_page(linux, kFull, 0x300000, LinuxMemory::kImage, LinuxMemory::kPhysical + kLargePage);
  CHECK(image_by(linux, kOfUserSpace) == LinuxMemory::kImage);
}

namespace {

struct ArmKernel : LinuxMemory {
  ArmKernel() : LinuxMemory(Machine::kArm64) {}
  std::optional<KernelMap> map() const { return KernelMap::of(memory, vmcoreinfo()); }
};

}  // namespace

TEST_CASE("kernel map: an arm64 kernel's image, tables and map of all memory", "[blackbox]") {
  ArmKernel linux;
  linux.write();
  const auto map = linux.map();
  REQUIRE(map);
  CHECK(map->in_image(kText) == GuestAddress{LinuxMemory::kPhysical + LinuxMemory::kCode});
  CHECK(map->space.translate(kText) == map->in_image(kText));
  CHECK(map->signature == LinuxMemory::kArm64Signature);
  CHECK(map->direct_map == LinuxMemory::kArm64DirectMap);
  linux.info["NUMBER(PHYS_OFFSET)"] = "0x40000000";
  CHECK(linux.map()->direct_map == LinuxMemory::kArm64DirectMap - 0x40000000);
  linux.info["NUMBER(PHYS_OFFSET)"] = "0xfffe000040000000";  // before the start of what is mapped, by KASLR
  CHECK(linux.map()->direct_map == 0x0000ffffc0000000);
  linux.info.erase("NUMBER(KERNELPACMASK)");
  CHECK(linux.map()->signature == 0);
}

TEST_CASE("kernel map: an arm64 kernel on a CPU with shorter addresses has its own tables, or the CPU's",
          "[blackbox]") {
  ArmKernel linux;
  linux.info["NUMBER(VA_BITS)"] = "52";
  linux.info["PAGESIZE"] = "65536";
  CHECK(linux.map()->space.format().address_bits == 52);  // three levels with either
  linux.info["PAGESIZE"] = "4096";
  CHECK(linux.map()->space.format().address_bits == 48);
  CHECK(linux.map()->direct_map == 0xfff0000000000000);
}

TEST_CASE("kernel map: sizes that no arm64 CPU has are none", "[blackbox]") {
  const auto [key, value] =
      GENERATE(std::pair{"PAGESIZE", "12288"}, std::pair{"PAGESIZE", "0"}, std::pair{"NUMBER(VA_BITS)", "1000"},
               std::pair{"NUMBER(VA_BITS)", "-1"}, std::pair{"NUMBER(TCR_EL1_T1SZ)", "0x0"},
               std::pair{"NUMBER(TCR_EL1_T1SZ)", "0xffffffffffffffff"}, std::pair{"NUMBER(PHYS_OFFSET)", "0x"},
               std::pair{"SYMBOL(swapper_pg_dir)", "-"});
  ArmKernel linux;
  linux.info[key] = value;
  CHECK_FALSE(linux.map());
}

TEST_CASE("kernel map: an arm64 CPU in user space has tables two pages before the kernel's", "[blackbox]") {
  ArmKernel linux;
  linux.write();
  const KernelMap map = linux.map().value();
  CpuState cpu = linux.cpu(0);
  CHECK(map.is_proven(linux.memory, std::array{cpu}, kText));
  cpu.arm64()->ttbr1_el1 -= 0x2000;
  CHECK(map.is_proven(linux.memory, std::array{cpu}, kText));
  cpu.arm64()->ttbr1_el1 -= 0x2000;
  CHECK_FALSE(map.is_proven(linux.memory, std::array{cpu}, kText));
  // Nor do the tables of another architecture prove it.
  const LinuxMemory x86;
  cpu = x86.cpu(0);
  cpu.x86()->cr3 = LinuxMemory::kPhysical + LinuxMemory::kTables + 0x3000;
  CHECK_FALSE(map.is_proven(linux.memory, std::array{cpu}, kText));
}
