// The PVH start info; see pvh.h. No kernel header defines it for user space, so its structures are here.
#include "firmware/pvh.h"

#include <cstddef>
#include <cstdint>

#include "firmware/bytes.h"
#include "firmware/layout_x86_64.h"
#include "vmm/core/check.h"

namespace vmm {
namespace {

constexpr uint32_t XEN_HVM_START_MAGIC_VALUE = 0x336ec578;

struct hvm_start_info {
  uint32_t magic;
  uint32_t version;
  uint32_t flags;
  uint32_t nr_modules;
  uint64_t modlist_paddr;
  uint64_t cmdline_paddr;
  uint64_t rsdp_paddr;
  uint64_t memmap_paddr;  // since version 1
  uint32_t memmap_entries;
  uint32_t reserved;
};
static_assert(sizeof(hvm_start_info) == 56);

struct hvm_modlist_entry {
  uint64_t paddr;
  uint64_t size;
  uint64_t cmdline_paddr;
  uint64_t reserved;
};
static_assert(sizeof(hvm_modlist_entry) == 32);

struct hvm_memmap_table_entry {
  uint64_t addr;
  uint64_t size;
  uint32_t type;
  uint32_t reserved;
};
static_assert(sizeof(hvm_memmap_table_entry) == 24);

}  // namespace

CpuEntry load_pvh(const SegmentedKernel& kernel, const ByteSource& file, const BootRequest& request) {
  const AddressRange range = load_segments(kernel, file, request);
  const AddressRange initrd = load_initrd_high(request, range, kFourGiB);
  write_command_line(request.memory, request.platform.command_line, kernel.info.command_line_limit);

  Bytes lists;
  append(lists, hvm_modlist_entry{initrd.start, initrd.end - initrd.start, 0, 0});
  const auto map = memory_map(request.platform);
  for (const MemoryMapEntry& entry : map) {
    append(lists, hvm_memmap_table_entry{entry.start, entry.size, entry.type, 0});
  }
  CHECK(lists.size() <= kPageSize);
  put_bytes(request.memory, kBootLists, lists);

  hvm_start_info info{};
  info.magic = XEN_HVM_START_MAGIC_VALUE;
  info.version = 1;
  info.nr_modules = request.initrd() != nullptr ? 1 : 0;
  info.modlist_paddr = kBootLists.value;
  info.cmdline_paddr = kCommandLine.value;
  info.rsdp_paddr = kAcpiArea.start.value;
  info.memmap_paddr = kBootLists.value + sizeof(hvm_modlist_entry);
  info.memmap_entries = static_cast<uint32_t>(map.size());
  put(request.memory, kBootInfo, info);

  CpuEntry entry = enter_protected32(request.memory, kernel.info.entry);
  entry.rbx = kBootInfo.value;
  return entry;
}

}  // namespace vmm
