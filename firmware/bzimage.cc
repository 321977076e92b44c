// bzImage parsing and loading; section names below are those of boot.rst.
#include "firmware/bzimage.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <string>
#include <string_view>

#include "firmware/bytes.h"
#include "firmware/decompress.h"
#include "firmware/kernel_payload.h"
#include "firmware/layout_x86_64.h"
#include "vmm/core/check.h"
#include "vmm/core/error.h"

namespace vmm {
namespace {

constexpr uint64_t kSector = 512;
constexpr uint64_t kHeaderOffset = offsetof(boot_params, hdr);  // 0x1f1, in the file as in the zero page
constexpr uint64_t kEntry64Offset = 0x200;                      // "64-bit Boot Protocol"
constexpr uint16_t kBootFlag = 0xaa55;
constexpr uint32_t kHdrS = 0x53726448;

// The header ends where the jump at its start leads: 0x202 + the byte at 0x201 ("Details of Header Fields: jump").
uint64_t header_end(uint16_t jump) { return 0x202 + uint64_t{jump} / 0x100; }

// What lies behind the end is code, not header, and stays zero.
setup_header read_header(const ByteSource& file) {
  setup_header header{};
  const auto jump = file.read_value<uint16_t>(kHeaderOffset + offsetof(setup_header, jump));
  if (!jump) throw Error("it ends within its setup header");
  const auto bytes = std::as_writable_bytes(std::span(&header, 1));
  const auto wanted = bytes.first(std::min<uint64_t>(bytes.size(), header_end(*jump) - kHeaderOffset));
  if (file.read_at(kHeaderOffset, wanted) < wanted.size()) throw Error("it ends within its setup header");
  return header;
}

std::string printable_word(std::string_view text) {
  const auto end = std::find_if(text.begin(), text.end(), [](char c) { return c <= ' ' || c > '~'; });
  return {text.begin(), end};
}

std::string summary_of(const KernelInfo& info) {
  return fmt::format("{} (boot protocol {}.{:02}, {}{}64-bit)",
                     info.version.empty() ? "of unknown version" : info.version, info.protocol >> 8,
                     info.protocol & 0xff, info.compression, info.compression.empty() ? "" : ", ");
}

// Where the kernel will run, once it has moved itself: a relocatable one aligns up the address where it finds itself.
uint64_t runtime_start(const BzImage& kernel) {
  const uint64_t address = kernel.info.pref_address;
  return kernel.info.relocatable ? align_up(address, kernel.header.kernel_alignment) : address;
}

// Everything that the kernel may write before it knows the memory map ("init_size").
AddressRange kernel_range(const BzImage& kernel) {
  const uint64_t start = kernel.info.pref_address;
  return {start, std::max(start + kernel.kernel_size, runtime_start(kernel) + kernel.info.init_size)};
}

void check_addresses(const BzImage& kernel) {
  const uint32_t alignment = kernel.header.kernel_alignment;
  if (kernel.info.relocatable && !std::has_single_bit(alignment)) {
    throw Error(fmt::format("its kernel_alignment {:#x} is not a power of two", alignment));
  }
  if (kernel.info.pref_address < kOneMiB || kernel.info.pref_address >= kFourGiB) {
    throw Error(
        fmt::format("it wants to be loaded at {:#x}, which is not between 1 MiB and 4 GiB", kernel.info.pref_address));
  }
  if (kernel.info.init_size == 0) throw Error("its init_size is zero");
}

boot_params make_zero_page(const BzImage& kernel, const Platform& platform, AddressRange initrd) {
  constexpr uint8_t kUnknownLoader = 0xff;
  boot_params params{};
  params.hdr = kernel.header;
  params.hdr.type_of_loader = kUnknownLoader;
  params.hdr.loadflags = static_cast<uint8_t>(kernel.header.loadflags | LOADED_HIGH);
  params.hdr.code32_start = static_cast<uint32_t>(kernel.info.pref_address);
  params.hdr.cmd_line_ptr = static_cast<uint32_t>(kCommandLine.value);
  params.hdr.ramdisk_image = static_cast<uint32_t>(initrd.start);
  params.hdr.ramdisk_size = static_cast<uint32_t>(initrd.end - initrd.start);
  params.hdr.setup_data = 0;
  params.acpi_rsdp_addr = kAcpiArea.start.value;
  const auto map = memory_map(platform);
  CHECK(map.size() <= E820_MAX_ENTRIES_ZEROPAGE);
  for (size_t index = 0; index < map.size(); ++index) {
    params.e820_table[index] = {map[index].start, map[index].size, map[index].type};
  }
  params.e820_entries = static_cast<uint8_t>(map.size());
  return params;
}

}  // namespace

bool is_bzimage(const ByteSource& file) {
  const auto magic = file.read_value<uint32_t>(kHeaderOffset + offsetof(setup_header, header));
  return magic == kHdrS;
}

BzImage parse_bzimage(const ByteSource& file) {
  BzImage kernel;
  kernel.header = read_header(file);
  const setup_header& header = kernel.header;
  KernelInfo& info = kernel.info;
  info.kind = KernelKind::kBzImage;
  info.protocol = header.version;
  const std::string protocol = fmt::format("{}.{:02}", info.protocol >> 8, info.protocol & 0xff);

  if (header.boot_flag != kBootFlag) throw Error("it has 'HdrS' at 0x202, but no boot flag 0xaa55 at 0x1fe");
  if (info.protocol < 0x206) {
    throw Error(fmt::format("its boot protocol {} is older than 2.06", protocol), "use a kernel from 2.6.22 or later");
  }
  const bool has_entry64 = info.protocol >= 0x20c && (header.xloadflags & XLF_KERNEL_64) != 0;
  if (!has_entry64) {
    throw Error(
        fmt::format("this bzImage has no 64-bit entry point (boot protocol {}): a 32-bit or very old kernel", protocol),
        "pass an x86-64 kernel of Linux 3.8 or later");
  }
  // init_size is the last of the fields we use.
  if (header_end(header.jump) < kHeaderOffset + offsetof(setup_header, handover_offset)) {
    throw Error(fmt::format("its setup header is too short for boot protocol {}", protocol));
  }

  const uint64_t setup_sectors = header.setup_sects == 0 ? 4 : header.setup_sects;  // "setup_sects: if 0, assume 4"
  kernel.kernel_offset = (setup_sectors + 1) * kSector;
  const uint64_t declared = uint64_t{header.syssize} * 16;
  // syssize counts paragraphs, so the last one may be incomplete.
  if (file.size() <= kernel.kernel_offset + kEntry64Offset || file.size() + 15 < kernel.kernel_offset + declared) {
    throw Error(fmt::format("it is cut short: {} bytes of {}", file.size(), kernel.kernel_offset + declared),
                "copy or build it again");
  }
  kernel.kernel_size = file.size() - kernel.kernel_offset;

  info.relocatable = header.relocatable_kernel != 0;
  info.pref_address = header.pref_address;
  info.init_size = header.init_size;
  info.entry64 = true;
  info.entry = info.pref_address + kEntry64Offset;
  info.command_line_limit = std::min(uint32_t{header.cmdline_size}, uint32_t{kCommandLineArea - 1});
  check_addresses(kernel);

  constexpr size_t kLongestVersion = 128;
  const uint64_t version_offset = uint64_t{header.kernel_version} + 0x200;
  if (header.kernel_version != 0 && version_offset < kernel.kernel_offset) {
    info.version = printable_word(file.read_text(version_offset, kLongestVersion));
  }
  info.compression = compression_of(file.read_text(kernel.kernel_offset + header.payload_offset, 8));
  info.summary = summary_of(info);
  return kernel;
}

// The kernel goes to its preferred address or nowhere. A relocatable one could be put elsewhere, but one that finds
// itself below pref_address moves up to it all the same (arch/x86/boot/compressed/head_64.S), so this saves nothing.
CpuEntry load_bzimage(const BzImage& kernel, const ByteSource& file, const BootRequest& request) {
  const AddressRange range = kernel_range(kernel);
  require_low_ram(request.platform, range.end, "the kernel");
  const auto slice = request.memory.slice(GuestAddress{range.start}, kernel.kernel_size);
  if (!slice) throw Error(fmt::format("there is no memory at {:#x} for the kernel", range.start));
  file.read_into(kernel.kernel_offset, *slice);

  const uint64_t ceiling = uint64_t{kernel.header.initrd_addr_max} + 1;  // the field is the last address allowed
  const AddressRange initrd = load_initrd_high(request, range, ceiling);
  write_command_line(request.memory, request.platform.command_line, kernel.info.command_line_limit);
  put(request.memory, kBootInfo, make_zero_page(kernel, request.platform, initrd));

  CpuEntry entry = enter_long64(request.memory, kernel.info.entry);
  entry.rsi = kBootInfo.value;
  return entry;
}

Bytes unpack_payload(const BzImage& kernel, const ByteSource& file) {
  const uint64_t offset = kernel.header.payload_offset;
  const uint64_t length = kernel.header.payload_length;
  if (offset == 0 || length == 0) throw Error("its header names no payload: not Linux, or very old");
  if (offset > kernel.kernel_size || length > kernel.kernel_size - offset) {
    throw Error("its payload lies beyond the end of the file", "copy or build it again");
  }
  if (length > kLargestKernel) throw Error(fmt::format("its payload is larger than {} MiB", kLargestKernel >> 20));
  Bytes payload(length);
  payload.resize(file.read_at(kernel.kernel_offset + offset, std::as_writable_bytes(std::span(payload))));
  try {
    return decompress(payload, kLargestKernel);
  } catch (const Error& error) {
    throw Error(fmt::format("cannot be decompressed: {}", error.what()), error.fix());
  }
}

}  // namespace vmm
