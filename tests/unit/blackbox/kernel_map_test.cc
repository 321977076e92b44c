// Where a kernel says it is, and what proves it.
#include "vmm/blackbox/kernel_map.h"

#include <array>
#include <catch2/catch.hpp>

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
