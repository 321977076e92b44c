// Reading and proving it; see kernel_map.h.
#include "vmm/blackbox/kernel_map.h"

#include <algorithm>
#include <array>

namespace vmm {

namespace {

std::optional<KernelMap> x86_map(const PhysicalMemory& memory, const VmcoreInfo& info, int64_t phys_base) {
  constexpr uint64_t kStart = 0xffffffff80000000;  // __START_KERNEL_map
  const auto text = info.symbol("_stext");
  const auto tables = info.symbol("init_top_pgt") ? info.symbol("init_top_pgt") : info.symbol("swapper_pg_dir");
  if (!text || *text < kStart || !tables) return std::nullopt;
  const uint64_t offset = kStart - static_cast<uint64_t>(phys_base);
  const bool five_levels = info.number("pgtable_l5_enabled").value_or(0) != 0;
  return KernelMap{.space = {memory, {*tables - offset}, PagingFormat::x86(five_levels ? 5 : 4)},
                   .image_offset = offset};
}

// With page-table isolation a CPU that is in user space has tables that leave the kernel out: the full ones are in the
// page before.
std::array<AddressSpace, 2> possible_spaces(const PhysicalMemory& memory, const AddressSpace& space) {
  constexpr uint64_t kUserTables = 1 << 12;
  return {space, AddressSpace(memory, {space.root().value & ~kUserTables}, space.format())};
}

}  // namespace

std::optional<KernelMap> KernelMap::of(const PhysicalMemory& memory, const VmcoreInfo& info) {
  if (const auto phys_base = info.number("phys_base")) return x86_map(memory, info, *phys_base);
  return std::nullopt;
}

bool KernelMap::is_proven(const PhysicalMemory& memory, std::span<const CpuState> cpus, uint64_t text) const {
  const auto agrees = [&](const AddressSpace& other) { return other.translate(text) == in_image(text); };
  if (!agrees(space)) return false;
  bool any = false;
  for (const CpuState& cpu : cpus) {
    const auto own = AddressSpace::of(memory, cpu);
    if (!own) continue;
    if (std::ranges::any_of(possible_spaces(memory, *own), agrees)) return true;
    any = true;
  }
  return !any;
}

}  // namespace vmm
