// The header, the unpacking and the loading of an Image; see arm64_image.h.
#include "firmware/arm64_image.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "firmware/decompress.h"
#include "firmware/device_tree.h"
#include "vmm/core/error.h"

namespace vmm {
namespace {

using namespace std::string_view_literals;

constexpr uint64_t kBoundary = 2 << 20;
constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kWindow = uint64_t{32} << 30;  // initrd and kernel lie within one
constexpr uint32_t kCommandLineLimit = 2047;      // COMMAND_LINE_SIZE, the NUL not counted

struct Header {  // booting.rst, "Call the kernel image"
  uint32_t code0, code1;
  uint64_t text_offset;
  uint64_t image_size;
  uint64_t flags;
  uint64_t res2, res3, res4;
  uint32_t magic;
  uint32_t res5;
};
static_assert(sizeof(Header) == 64);
constexpr uint32_t kMagic = 0x644d5241;  // "ARM\x64"

struct ZbootHeader {
  uint32_t mz;  // "MZ" and two zeroes
  uint32_t zimg;
  uint32_t payload_offset;
  uint32_t payload_size;
  uint64_t reserved;
  std::array<char, 32> compression;  // "gzip", "zstd", ...
};

bool is_gzip(const ByteSource& file) { return file.read_text(0, 2) == "\x1f\x8b"sv; }
bool is_zboot(const ByteSource& file) { return file.read_text(0, 8) == "MZ\0\0zimg"sv; }

Bytes unpack(const ByteSource& file, uint64_t offset, uint64_t length) {
  if (offset > file.size() || length > file.size() - offset) {
    throw Error("its compressed kernel lies beyond the end of the file", "copy or build it again");
  }
  if (length > kLargestKernel) throw Error(fmt::format("it is larger than {} MiB", kLargestKernel >> 20));
  Bytes packed(length);
  packed.resize(file.read_at(offset, std::as_writable_bytes(std::span(packed))));
  try {
    return decompress_stream(packed, kLargestKernel);
  } catch (const Error& error) {
    throw Error(fmt::format("it cannot be decompressed: {}", error.what()), error.fix());
  }
}

// What the file holds, and the name of its compression.
Bytes unpack_if_packed(const ByteSource& file, std::string& compression) {
  if (is_gzip(file)) {
    compression = "gzip";
    return unpack(file, 0, file.size());
  }
  if (!is_zboot(file)) return {};
  const auto header = file.read_value<ZbootHeader>(0);
  if (!header) throw Error("it ends within its header", "copy or build it again");
  const std::string_view name(header->compression.data(), header->compression.size());
  compression = fmt::format("EFI zboot, {}", name.substr(0, name.find('\0')));
  for (char& c : compression) c = c >= ' ' && c <= '~' ? c : '?';
  return unpack(file, header->payload_offset, header->payload_size);
}

// In the file, or unpacked.
class Content final : public ByteSource {
 public:
  Content(const Bytes& unpacked, const ByteSource& file) : memory_(std::as_bytes(std::span(unpacked))), source_(&file) {
    if (!unpacked.empty()) source_ = &memory_;
  }
  uint64_t size() const override { return source_->size(); }
  size_t read_at(uint64_t offset, std::span<std::byte> to) const override { return source_->read_at(offset, to); }

 private:
  MemorySource memory_;
  const ByteSource* source_;
};

unsigned page_size(uint64_t flags) {
  constexpr std::array<unsigned, 4> kSizes{0, 4, 16, 64};
  return kSizes[flags >> 1 & 3];
}

std::string summary_of(const Arm64Image& image) {
  std::string text = image.info.version.empty() ? "of unknown version" : image.info.version;
  std::string details = image.info.compression;
  if (image.page_size != 0) {
    details += fmt::format("{}pages of {} KiB", details.empty() ? "" : ", ", image.page_size);
  }
  return details.empty() ? text : fmt::format("{} ({})", text, details);
}

void check_header(const Header& header, const Arm64Image& image) {
  constexpr uint64_t kBigEndian = 1;
  if ((header.flags & kBigEndian) != 0)
    throw Error("it is a big-endian kernel", "build it without CONFIG_CPU_BIG_ENDIAN");
  if (header.image_size == 0) throw Error("its header is one of before Linux 3.17", "use a newer kernel");
  if (header.text_offset >= kBoundary || header.text_offset % 8 != 0) {
    throw Error(fmt::format("its text_offset {:#x} is not below 2 MiB", header.text_offset));
  }
  if (header.image_size > kLargestKernel || header.image_size < image.size) {
    throw Error(fmt::format("its image_size {:#x} does not fit its {:#x} bytes", header.image_size, image.size),
                "copy or build it again");
  }
}

std::vector<Segment> whole(const Arm64Image& image) {
  return {{.file_offset = 0, .file_size = image.size, .address = 0, .memory_size = image.size}};
}

GuestSlice require_room(const BootRequest& request, AddressRange range, std::string_view what) {
  const auto slice = request.memory.slice(GuestAddress{range.start}, range.end - range.start);
  if (slice) return *slice;
  const uint64_t needed = range.end - request.platform.ram.front().start.value;
  throw Error(fmt::format("{} needs memory up to {} MiB", what, align_up(needed, kMiB) / kMiB),
              fmt::format("--mem {}M", align_up(needed, kMiB) / kMiB));
}

}  // namespace

bool may_be_arm64_image(const ByteSource& file) {
  return is_gzip(file) || is_zboot(file) || file.read_value<uint32_t>(offsetof(Header, magic)) == kMagic;
}

Arm64Image parse_arm64_image(const ByteSource& file) {
  Arm64Image image;
  image.info.kind = KernelKind::kArm64Image;
  image.unpacked = unpack_if_packed(file, image.info.compression);
  const Content content(image.unpacked, file);
  const auto header = content.read_value<Header>(0);
  if (!header || header->magic != kMagic) {
    const std::string_view where = image.info.compression.empty() ? "it" : "what is compressed in it";
    throw Error(fmt::format("{} has no 'ARM\\x64' at 56: no arm64 Image", where), "pass an arm64 Image or Image.gz");
  }
  image.size = content.size();
  check_header(*header, image);
  image.text_offset = header->text_offset;
  image.image_size = header->image_size;
  image.page_size = page_size(header->flags);
  image.info.entry = image.text_offset;
  image.info.entry64 = true;
  image.info.init_size = image.image_size;
  image.info.command_line_limit = kCommandLineLimit;
  image.info.version = release_in(content, whole(image));
  image.info.summary = summary_of(image);
  return image;
}

KernelFacts facts_of_arm64_image(const Arm64Image& image, const ByteSource& file) {
  return facts_of_code(Content(image.unpacked, file), whole(image));
}

// The device tree must not lie within what the kernel takes, nor cross a boundary of 2 MiB.
Aarch64Entry load_arm64_image(const Arm64Image& image, const ByteSource& file, const BootRequest& request) {
  check_command_line(request.platform.command_line, image.info.command_line_limit);
  const uint64_t ram = request.platform.ram.front().start.value;
  const uint64_t start = align_up(ram, kBoundary) + image.text_offset;
  const GuestSlice kernel = require_room(request, {start, start + image.image_size}, "the kernel");
  Content(image.unpacked, file).read_into(0, kernel.sub(0, image.size));

  const uint64_t tree_at = align_up(start + image.image_size, kBoundary);
  AddressRange initrd;
  if (request.initrd() != nullptr) {
    const uint64_t initrd_at = tree_at + kLargestDeviceTree;
    if (request.initrd()->size() > kWindow - (initrd_at - start)) throw Error("the initrd is larger than 32 GiB");
    initrd = {initrd_at, initrd_at + request.initrd()->size()};
    request.initrd()->read_into(0, require_room(request, initrd, "the initrd"));
  }
  const Bytes tree = make_device_tree(request.platform, initrd);
  require_room(request, {tree_at, tree_at + tree.size()}, "the device tree").copy_in(std::as_bytes(std::span(tree)));
  return {.pc = start, .x0 = tree_at};
}

}  // namespace vmm
