// Multiboot header and information; section numbers are those of the specification, version 0.6.96.
#include "firmware/multiboot.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "firmware/bytes.h"
#include "firmware/layout_x86_64.h"
#include "vmm/core/check.h"
#include "vmm/core/error.h"

namespace vmm {
namespace {

constexpr uint32_t MULTIBOOT_HEADER_MAGIC = 0x1badb002;
constexpr uint32_t MULTIBOOT_BOOTLOADER_MAGIC = 0x2badb002;
constexpr uint32_t MULTIBOOT_PAGE_ALIGN = 1 << 0;
constexpr uint32_t MULTIBOOT_MEMORY_INFO = 1 << 1;
constexpr uint32_t MULTIBOOT_VIDEO_MODE = 1 << 2;
constexpr uint32_t kMandatory = 0xffff;  // §3.1.2: a loader must refuse bits 0-15 that it does not know

constexpr uint32_t MULTIBOOT_INFO_MEMORY = 1 << 0;
constexpr uint32_t MULTIBOOT_INFO_CMDLINE = 1 << 2;
constexpr uint32_t MULTIBOOT_INFO_MODS = 1 << 3;
constexpr uint32_t MULTIBOOT_INFO_MEM_MAP = 1 << 6;
constexpr uint32_t MULTIBOOT_INFO_BOOT_LOADER_NAME = 1 << 9;

struct multiboot_info {  // §3.3, as far as we fill it in
  uint32_t flags;
  uint32_t mem_lower, mem_upper;
  uint32_t boot_device;
  uint32_t cmdline;
  uint32_t mods_count, mods_addr;
  uint32_t syms[4];
  uint32_t mmap_length, mmap_addr;
  uint32_t drives_length, drives_addr;
  uint32_t config_table;
  uint32_t boot_loader_name;
  uint32_t apm_table;
  uint32_t vbe_and_framebuffer[12];
};
static_assert(sizeof(multiboot_info) == 120);

struct multiboot_mod_list {
  uint32_t mod_start, mod_end;
  uint32_t cmdline;
  uint32_t pad;
};

struct multiboot_mmap_entry {
  uint32_t size;  // of the rest
  uint64_t addr;
  uint64_t len;
  uint32_t type;
} __attribute__((packed));
static_assert(sizeof(multiboot_mmap_entry) == 24);

// §3.1.3: the image is taken as it lies in the file, from the place that belongs to load_addr on.
Segment segment_from_addresses(const FoundMultibootHeader& found, const ByteSource& file) {
  const MultibootHeader& header = found.header;
  if (header.load_addr > header.header_addr || header.header_addr - header.load_addr > found.offset) {
    throw Error("the load address of its Multiboot header lies before the start of the file");
  }
  const uint64_t file_offset = found.offset - (header.header_addr - header.load_addr);
  uint64_t file_size = file.size() - file_offset;  // load_end_addr 0: to the end of the file
  if (header.load_end_addr != 0) {
    if (header.load_end_addr < header.load_addr) throw Error("its Multiboot load_end_addr is below load_addr");
    file_size = header.load_end_addr - header.load_addr;
  }
  uint64_t memory_size = file_size;  // bss_end_addr 0: no BSS
  if (header.bss_end_addr != 0) {
    if (header.bss_end_addr < header.load_addr) throw Error("its Multiboot bss_end_addr is below load_addr");
    memory_size = std::max<uint64_t>(memory_size, header.bss_end_addr - header.load_addr);
  }
  return {file_offset, file_size, header.load_addr, memory_size};
}

struct LoadedModules {
  uint32_t count = 0;
  uint32_t list = 0;  // where it is; 0: there are none
};

// Kernels that map little of memory at first expect modules close by, and other loaders put them there. Their list
// (§3.3) and its texts come behind the last, as there may be any number.
LoadedModules load_modules(const BootRequest& request, uint64_t kernel_end) {
  if (request.modules.empty()) return {};
  uint64_t end = kernel_end;
  std::vector<multiboot_mod_list> list;
  Bytes texts;
  for (const BootModule& module : request.modules) {
    const AddressRange place = load_module_after(request, *module.source, end);
    end = place.end;
    list.push_back(
        {static_cast<uint32_t>(place.start), static_cast<uint32_t>(place.end), static_cast<uint32_t>(texts.size()), 0});
    texts.insert(texts.end(), module.text.begin(), module.text.end());
    texts.push_back(0);
  }
  const uint64_t list_at = align_up(end, kPageSize), texts_at = list_at + list.size() * sizeof(multiboot_mod_list);
  require_low_ram(request.platform, texts_at + texts.size(), "the list of its modules");
  Bytes bytes;
  for (multiboot_mod_list& entry : list) {
    entry.cmdline += static_cast<uint32_t>(texts_at);
    append(bytes, entry);
  }
  bytes.insert(bytes.end(), texts.begin(), texts.end());
  put_bytes(request.memory, GuestAddress{list_at}, bytes);
  return {static_cast<uint32_t>(list.size()), static_cast<uint32_t>(list_at)};
}

}  // namespace

std::optional<FoundMultibootHeader> find_multiboot_header(const ByteSource& file) {
  constexpr size_t kSearched = 8192, kFixedPart = 12;  // §3.1: wholly within the first 8192 bytes, 4-byte aligned
  const std::string start = file.read_text(0, kSearched);
  for (size_t offset = 0; offset + kFixedPart <= start.size(); offset += 4) {
    MultibootHeader header{};
    std::memcpy(&header, start.data() + offset, std::min(sizeof header, start.size() - offset));
    if (header.magic != MULTIBOOT_HEADER_MAGIC) continue;
    if (header.magic + header.flags + header.checksum != 0) continue;
    if (header.has_addresses() && offset + sizeof header > start.size()) continue;
    return FoundMultibootHeader{header, offset};
  }
  return std::nullopt;
}

bool has_multiboot2_header(const ByteSource& file) {
  constexpr uint32_t kMagic = 0xe85250d6;
  constexpr size_t kSearched = 32768;
  struct {
    uint32_t magic, architecture, header_length, checksum;
  } header{};
  const std::string start = file.read_text(0, kSearched);
  for (size_t offset = 0; offset + sizeof header <= start.size(); offset += 8) {
    std::memcpy(&header, start.data() + offset, sizeof header);
    if (header.magic != kMagic) continue;
    if (header.magic + header.architecture + header.header_length + header.checksum == 0) return true;
  }
  return false;
}

SegmentedKernel parse_multiboot(const FoundMultibootHeader& found, const ByteSource& file) {
  const uint32_t flags = found.header.flags;
  const uint32_t unknown = flags & kMandatory & ~(MULTIBOOT_PAGE_ALIGN | MULTIBOOT_MEMORY_INFO | MULTIBOOT_VIDEO_MODE);
  if (unknown != 0) {
    throw Error(fmt::format("its Multiboot header demands features that are not known here (flags {:#06x})", unknown));
  }
  SegmentedKernel kernel;
  kernel.info.kind = KernelKind::kMultiboot;
  kernel.info.command_line_limit = kCommandLineArea - 1;
  if ((flags & MULTIBOOT_VIDEO_MODE) != 0) {
    kernel.info.warnings.emplace_back("asks for a video mode; there is no display");
  }
  if (!found.header.has_addresses()) return kernel;

  kernel.segments.push_back(segment_from_addresses(found, file));
  kernel.info.entry = found.header.entry_addr;
  kernel.info.summary = fmt::format("flat image, entry {:#x}", kernel.info.entry);
  check_segments(kernel, file);
  return kernel;
}

CpuEntry load_multiboot(const SegmentedKernel& kernel, const ByteSource& file, const BootRequest& request) {
  const AddressRange range = load_segments(kernel, file, request);
  const LoadedModules modules = load_modules(request, range.end);
  // §3.3: the command line of GRUB begins with the name of the kernel.
  write_command_line(request.memory, fmt::format("{} {}", request.kernel_name, request.platform.command_line),
                     kernel.info.command_line_limit);

  constexpr std::string_view kLoaderName("vmm\0", 4);
  Bytes lists;
  lists.insert(lists.end(), kLoaderName.begin(), kLoaderName.end());
  const uint64_t map_at = kBootLists.value + lists.size();
  for (const MemoryMapEntry& entry : memory_map(request.platform)) {
    append(lists,
           multiboot_mmap_entry{sizeof(multiboot_mmap_entry) - sizeof(uint32_t), entry.start, entry.size, entry.type});
  }
  CHECK(lists.size() <= kPageSize);
  put_bytes(request.memory, kBootLists, lists);

  multiboot_info info{};
  info.flags = MULTIBOOT_INFO_MEMORY | MULTIBOOT_INFO_CMDLINE | MULTIBOOT_INFO_MODS | MULTIBOOT_INFO_MEM_MAP |
               MULTIBOOT_INFO_BOOT_LOADER_NAME;
  info.mem_lower = kReservedStart.value / 1024;
  info.mem_upper = static_cast<uint32_t>((std::max(low_ram_end(request.platform), kOneMiB) - kOneMiB) / 1024);
  info.cmdline = static_cast<uint32_t>(kCommandLine.value);
  info.mods_count = modules.count;
  info.mods_addr = modules.list;
  info.mmap_addr = static_cast<uint32_t>(map_at);
  info.mmap_length = static_cast<uint32_t>(kBootLists.value + lists.size() - map_at);
  info.boot_loader_name = static_cast<uint32_t>(kBootLists.value);
  put(request.memory, kBootInfo, info);

  CpuEntry entry = enter_protected32(request.memory, kernel.info.entry);
  entry.rax = MULTIBOOT_BOOTLOADER_MAGIC;
  entry.rbx = kBootInfo.value;
  return entry;
}

}  // namespace vmm
