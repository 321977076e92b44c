// Memory map, initrd placement, command line and CPU state; see boot_setup.h and the picture in layout_x86_64.h.
#include "firmware/boot_setup.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string>

#include "firmware/bytes.h"
#include "firmware/layout_x86_64.h"
#include "vmm/core/check.h"
#include "vmm/core/error.h"

namespace vmm {
namespace {

uint64_t mib_up(uint64_t bytes) { return align_up(bytes, kOneMiB) / kOneMiB; }

// The --mem that reaches to `end`; empty when the 32-bit hole begins before that.
std::string more_memory(const Platform& platform, uint64_t end) {
  uint64_t hole = kFourGiB;
  if (platform.ecam.size > 0) hole = std::min(hole, platform.ecam.start.value);
  if (platform.pci_window.size > 0) hole = std::min(hole, platform.pci_window.start.value);
  return end <= hole ? fmt::format("--mem {}M", mib_up(end)) : std::string();
}

AddressRange load_at(const BootRequest& request, const ByteSource& source, uint64_t start) {
  const uint64_t size = source.size();
  const auto slice = request.memory.slice(GuestAddress{start}, size);
  if (!slice) throw Error(fmt::format("there is no memory for the initrd at {:#x}", start));
  source.read_into(0, *slice);
  return {start, start + size};
}

CpuEntry enter(const GuestMemory& memory, CpuEntry::Mode mode, uint64_t rip, uint64_t code_descriptor) {
  // Segment descriptors (Intel SDM vol. 3 §3.4.5): flat, accessed, privilege level 0.
  constexpr uint64_t kFlatData = 0x00cf93000000ffff;
  constexpr uint64_t kBusyTss = 0x00008b0000000067;
  const std::array<uint64_t, 6> gdt = {0, 0, code_descriptor, kFlatData, kBusyTss, 0};  // a 64-bit TSS takes two
  put(memory, kGdt, gdt);
  CpuEntry entry;
  entry.mode = mode;
  entry.rip = rip;
  entry.gdt = kGdt;
  entry.gdt_limit = sizeof gdt - 1;
  return entry;
}

// Three levels of tables, the lowest with 2 MiB pages (Intel SDM vol. 3 §4.5).
void write_identity_map(const GuestMemory& memory) {
  constexpr uint64_t kPresent = 1 << 0, kWritable = 1 << 1, kLargePage = 1 << 7, kLargePageSize = 2 * kOneMiB;
  constexpr size_t kDirectories = 4;
  using Table = std::array<uint64_t, 512>;
  const uint64_t pointers_at = kPageTables.value + kPageSize;
  const uint64_t directories_at = pointers_at + kPageSize;

  Table top{}, pointers{};
  std::array<Table, kDirectories> directories{};
  top[0] = pointers_at | kPresent | kWritable;
  uint64_t page = 0;
  for (size_t index = 0; index < kDirectories; ++index) {
    pointers[index] = (directories_at + index * kPageSize) | kPresent | kWritable;
    for (uint64_t& entry : directories[index]) {
      entry = page | kPresent | kWritable | kLargePage;
      page += kLargePageSize;
    }
  }
  put(memory, kPageTables, top);
  put(memory, GuestAddress{pointers_at}, pointers);
  put(memory, GuestAddress{directories_at}, directories);
}

}  // namespace

std::vector<MemoryMapEntry> memory_map(const Platform& platform) {
  std::vector<MemoryMapEntry> map;
  for (const auto& range : platform.ram) {
    const uint64_t start = range.start.value, end = start + range.size;
    if (start != 0) {
      map.push_back({start, range.size, MemoryMapEntry::kRam});
      continue;
    }
    map.push_back({0, std::min(end, kReservedStart.value), MemoryMapEntry::kRam});
    map.push_back({kReservedStart.value, kOneMiB - kReservedStart.value, MemoryMapEntry::kReserved});
    if (end > kOneMiB) map.push_back({kOneMiB, end - kOneMiB, MemoryMapEntry::kRam});
  }
  if (platform.ecam.size > 0) {
    map.push_back({platform.ecam.start.value, platform.ecam.size, MemoryMapEntry::kReserved});
  }
  std::sort(map.begin(), map.end(), [](const auto& left, const auto& right) { return left.start < right.start; });
  return map;
}

uint64_t low_ram_end(const Platform& platform) {
  const bool present = !platform.ram.empty() && platform.ram.front().start.value == 0;
  return present ? platform.ram.front().size : 0;
}

void require_low_ram(const Platform& platform, uint64_t end, std::string_view what) {
  const uint64_t have = low_ram_end(platform);
  if (end <= have) return;
  throw Error(fmt::format("{} needs memory up to {} MiB, and the machine has {} MiB below the 32-bit hole", what,
                          mib_up(end), have / kOneMiB),
              more_memory(platform, end));
}

AddressRange load_initrd_high(const BootRequest& request, AddressRange kernel, uint64_t ceiling) {
  if (request.initrd() == nullptr) return {};
  const uint64_t size = request.initrd()->size();
  const uint64_t top = std::min(ceiling, low_ram_end(request.platform));
  // Above the kernel if there is room, otherwise between our own structures and the kernel.
  const AddressRange gaps[] = {{align_up(kernel.end, kPageSize), top}, {kOneMiB, std::min(kernel.start, top)}};
  for (const auto& [start, end] : gaps) {
    if (end < start || size > end - start) continue;
    const uint64_t place = align_down(end - size, kPageSize);
    if (place >= start) return load_at(request, *request.initrd(), place);
  }
  const std::string what = fmt::format("the initrd ({} MiB)", mib_up(size));
  // Would more memory help? Twice a page: its end and its start are both rounded.
  const uint64_t enough = kernel.end + std::min(align_up(size, kPageSize), kFourGiB) + 2 * kPageSize;
  if (enough <= ceiling) require_low_ram(request.platform, enough, what);
  throw Error(fmt::format("{} does not fit below {:#x}, where the kernel wants it", what, top));
}

AddressRange load_module_after(const BootRequest& request, const ByteSource& module, uint64_t end) {
  const uint64_t start = align_up(std::max(end, kOneMiB), kPageSize);
  const uint64_t size = module.size();
  const std::string what = fmt::format("the initrd ({} MiB)", mib_up(size));
  if (size >= kFourGiB) throw Error(fmt::format("{} does not fit below 4 GiB", what));
  require_low_ram(request.platform, start + size, what);
  return load_at(request, module, start);
}

void check_command_line(std::string_view text, uint64_t limit) {
  if (text.find('\0') != text.npos) throw Error("the command line holds a NUL character");
  if (text.size() > limit) {
    throw Error(fmt::format("the command line has {} bytes, and this kernel takes at most {}", text.size(), limit),
                "shorten what --append adds");
  }
}

void write_command_line(const GuestMemory& memory, std::string_view text, uint64_t limit) {
  check_command_line(text, limit);
  const std::string terminated(text);
  put_bytes(memory, kCommandLine, {reinterpret_cast<const uint8_t*>(terminated.c_str()), terminated.size() + 1});
}

CpuEntry enter_long64(const GuestMemory& memory, uint64_t rip) {
  constexpr uint64_t kFlatCode64 = 0x00af9b000000ffff;
  write_identity_map(memory);
  CpuEntry entry = enter(memory, CpuEntry::Mode::kLong64, rip, kFlatCode64);
  entry.page_tables = kPageTables;
  return entry;
}

CpuEntry enter_protected32(const GuestMemory& memory, uint64_t rip) {
  constexpr uint64_t kFlatCode32 = 0x00cf9b000000ffff;
  return enter(memory, CpuEntry::Mode::kProtected32, rip, kFlatCode32);
}

}  // namespace vmm
