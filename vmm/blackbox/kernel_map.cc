// Reading and proving it; see kernel_map.h.
#include "vmm/blackbox/kernel_map.h"

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

std::optional<KernelMap> arm64_map(const PhysicalMemory& memory, const VmcoreInfo& info, int64_t voffset) {
  const auto tables = info.symbol("swapper_pg_dir");
  const auto page_size = info.page_size();
  const auto unused_bits = info.number("TCR_EL1_T1SZ");
  const auto built_bits = info.number("VA_BITS");
  const auto memory_start = info.number("PHYS_OFFSET");
  if (!tables || !page_size || !unused_bits || !built_bits || !memory_start) return std::nullopt;
  const auto of_cpu = PagingFormat::arm64(*page_size, 64 - static_cast<uint64_t>(*unused_bits));
  const auto built = PagingFormat::arm64(*page_size, static_cast<uint64_t>(*built_bits));
  if (!of_cpu || !built) return std::nullopt;
  // A kernel for longer addresses than its CPU has may have its tables as if the CPU had them, and give it the end of
  // the first one: that they have as many levels tells (arch/arm64/include/asm/assembler.h: offset_ttbr1).
  const PagingFormat& format = of_cpu->levels() == built->levels() ? *built : *of_cpu;
  const auto offset = static_cast<uint64_t>(voffset);
  // arch/arm64/include/asm/memory.h: PAGE_OFFSET, __phys_to_virt().
  const uint64_t page_offset = ~uint64_t{0} << built->address_bits;
  return KernelMap{.space = {memory, {*tables - offset}, format},
                   .image_offset = offset,
                   .direct_map = page_offset - static_cast<uint64_t>(*memory_start),
                   .signature = static_cast<uint64_t>(info.number("KERNELPACMASK").value_or(0))};
}

}  // namespace

std::optional<KernelMap> KernelMap::of(const PhysicalMemory& memory, const VmcoreInfo& info) {
  if (const auto phys_base = info.number("phys_base")) return x86_map(memory, info, *phys_base);
  if (const auto voffset = info.number("kimage_voffset")) return arm64_map(memory, info, *voffset);
  return std::nullopt;
}

bool KernelMap::is_proven(const PhysicalMemory& memory, std::span<const CpuState> cpus, uint64_t text) const {
  const auto agrees = [&](const AddressSpace& other) { return other.translate(text) == in_image(text); };
  if (!agrees(space)) return false;
  bool any = false;
  for (const CpuState& cpu : cpus) {
    const auto own = AddressSpace::of(memory, cpu);
    if (!own) continue;
    if (agrees(*own) || agrees(own->behind_isolation())) return true;
    any = true;
  }
  return !any;
}

namespace {

std::optional<uint64_t> first_mapped(const AddressSpace& space) {
  constexpr uint64_t kAlignment = uint64_t{2} << 20;  // the least CONFIG_PHYSICAL_ALIGN
  for (uint64_t address = kLinkedX86Image; address >= kLinkedX86Image; address += kAlignment) {
    if (space.translate(address)) return address;
  }
  return std::nullopt;
}

}  // namespace

// Page tables of user space may have no more of it than the code that is entered from there. Without page-table
// isolation there may be anything where full ones would be, but they have that code at the same place.
std::optional<uint64_t> mapped_x86_image(const AddressSpace& space) {
  const auto first = first_mapped(space);
  const AddressSpace full = space.behind_isolation();
  const bool isolated = first && full.translate(*first) == space.translate(*first);
  return isolated ? first_mapped(full) : first;
}

}  // namespace vmm
