// The table of foreign formats, by magic number, the more telling first; see foreign_file.h.
#include "firmware/foreign_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace vmm {
namespace {

using namespace std::string_view_literals;

struct Format {
  uint64_t offset;
  std::string_view magic, what, fix;
};

constexpr std::string_view kDecompress = "decompress it first; it may be a vmlinux";
constexpr std::string_view kPassDisk = "pass it with --disk, and a kernel with --kernel";
constexpr std::string_view kPassInside = "pass the kernel inside it";
constexpr std::string_view kPassNative = {};  // what the machine would have taken

constexpr std::array kFormats = std::to_array<Format>({
    {56, "ARM\x64"sv, "64-bit ARM kernel Image", kPassNative},
    {0x202, "HdrS"sv, "x86 bzImage", kPassNative},
    {48, "RISCV\0\0\0"sv, "RISC-V kernel Image", kPassNative},
    {4, "zimg"sv, "compressed EFI kernel (zboot)", "extract the kernel inside it"},
    {0x8001, "CD001"sv, "ISO image", kPassInside},
    {0, "\x1f\x8b"sv, "gzip file", kDecompress},
    {0, "\xfd\x37zXZ"sv, "xz file", kDecompress},
    {0, "\x28\xb5\x2f\xfd"sv, "zstd file", kDecompress},
    {0, "\x04\x22\x4d\x18"sv, "lz4 file", kDecompress},
    {0, "\x02\x21\x4c\x18"sv, "lz4 file", kDecompress},
    {0, "BZh"sv, "bzip2 file", kDecompress},
    {0, "07070"sv, "cpio archive, an initramfs", "pass it with --initrd, and a kernel with --kernel"},
    {0, "#!"sv, "script", kPassNative},
    {0, "QFI\xfb"sv, "qcow2 disk image", kPassDisk},
    {0, "KDMV"sv, "VMDK disk image", kPassDisk},
    {40, "_FVH"sv, "UEFI firmware", "leave it out, there is no firmware: pass the kernel that it would start"},
    {0, "\x55\xaa"sv, "option ROM", kPassNative},
    {0x200, "EFI PART"sv, "disk image with a GPT", kPassDisk},
    {0x438, "\x53\xef"sv, "ext4 file system", kPassDisk},
    {0, "hsqs"sv, "squashfs file system", kPassDisk},
    {0, "!<arch>"sv, "Debian package or static library", kPassInside},
    {257, "ustar"sv, "tar archive", kPassInside},
    {0, "\x27\x05\x19\x56"sv, "U-Boot image", kPassNative},
    {0, "\xd0\x0d\xfe\xed"sv, "device tree or U-Boot FIT image", kPassNative},
    {0,
     "\x7f"
     "ELF"sv,
     "ELF file", kPassNative},
    {0, "MZ"sv, "EFI or Windows program",
     "there is no firmware that would start it: pass the kernel itself; out of a unified one it comes by "
     "objcopy -O binary -j .linux FILE vmlinuz"},
    {0x1fe, "\x55\xaa"sv, "boot sector, or a disk with one",
     "there is no BIOS that would start it: pass a kernel with --kernel, and a disk with --disk"},
});

// 'CD001' as it is; otherwise the bytes in hexadecimal.
std::string spell(std::string_view bytes) {
  const bool printable = std::all_of(bytes.begin(), bytes.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (printable) return fmt::format("'{}'", bytes);
  std::string text;
  for (const char c : bytes) {
    text += fmt::format("{}{:02x}", text.empty() ? "" : " ", static_cast<unsigned char>(c));
  }
  return text;
}

}  // namespace

Error refuse_foreign_file(const ByteSource& file, const WantedKernel& wanted) {
  constexpr size_t kShown = 8;
  const std::string start = file.read_text(0, kShown);
  if (start.empty()) return Error("the file is empty", "build or copy it again");
  for (const Format& format : kFormats) {
    if (file.read_text(format.offset, format.magic.size()) != format.magic) continue;
    return Error(fmt::format("{} (first bytes: {} {})", wanted.missing, spell(format.magic), format.what),
                 std::string(format.fix.empty() ? wanted.pass : format.fix));
  }
  return Error(fmt::format("{} (first bytes: {})", wanted.missing, spell(start)), std::string(wanted.pass));
}

}  // namespace vmm
