// The reader, which looks up a frame and unpacks that, and the writer, with the table at the end; see seekable_zstd.h.
#include "vmm/blackbox/seekable_zstd.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "vmm/core/check.h"
#include "vmm/core/error.h"

namespace vmm {

namespace {

constexpr uint32_t kSkippableMagic = 0x184d2a5e;
constexpr uint32_t kTableMagic = 0x8f92eab1;
constexpr size_t kFrameHeader = 8;    // of a skippable frame: magic and size
constexpr size_t kTableFooter = 9;    // number of frames, a byte of flags, magic
constexpr size_t kPlainEntry = 8;     // compressed and decompressed size
constexpr size_t kEntryWithSum = 12;  // and a checksum
constexpr uint8_t kHasSums = 0x80, kReserved = 0x7c;
constexpr uint32_t kMostFrames = 1 << 24;
// Memory compresses to a half or a third at any level; the quickest keeps up with a disk.
constexpr int kLevel = 1;

bool is_zero(std::span<const std::byte> bytes) {
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

void put(std::vector<std::byte>& to, uint32_t value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

uint32_t word_at(std::span<const std::byte> bytes, size_t offset) {
  uint32_t value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

}  // namespace

// ---- writing

SeekableZstdWriter::SeekableZstdWriter(std::function<void(std::span<const std::byte>)> write)
    : write_(std::move(write)), context_(::ZSTD_createCCtx()) {
  if (context_ == nullptr) throw Error("the host has no memory left to compress with");
  ::ZSTD_CCtx_setParameter(context_, ZSTD_c_compressionLevel, kLevel);
  ::ZSTD_CCtx_setParameter(context_, ZSTD_c_checksumFlag, 1);
  zeroes_ = compress(std::vector<std::byte>(kFrame));
  buffer_.reserve(kFrame);
}

SeekableZstdWriter::~SeekableZstdWriter() { ::ZSTD_freeCCtx(context_); }

std::vector<std::byte> SeekableZstdWriter::compress(std::span<const std::byte> bytes) {
  std::vector<std::byte> compressed(::ZSTD_compressBound(bytes.size()));
  const size_t size = ::ZSTD_compress2(context_, compressed.data(), compressed.size(), bytes.data(), bytes.size());
  if (::ZSTD_isError(size) != 0) throw Error(std::string("cannot compress: ") + ::ZSTD_getErrorName(size));
  compressed.resize(size);
  return compressed;
}

void SeekableZstdWriter::write_frame(std::span<const std::byte> frame, size_t size) {
  out_.insert(out_.end(), frame.begin(), frame.end());
  if (out_.size() >= kFrame) flush();
  table_.push_back({static_cast<uint32_t>(frame.size()), static_cast<uint32_t>(size)});
}

void SeekableZstdWriter::flush() {
  write_(out_);
  out_.clear();
}

void SeekableZstdWriter::end_frame() {
  if (buffer_.empty()) return;
  const bool zero = buffer_.size() == kFrame && is_zero(buffer_);
  write_frame(zero ? zeroes_ : compress(buffer_), buffer_.size());
  buffer_.clear();
}

void SeekableZstdWriter::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(bytes.size(), kFrame - buffer_.size()));
    buffer_.insert(buffer_.end(), part.begin(), part.end());
    bytes = bytes.subspan(part.size());
    if (buffer_.size() == kFrame) end_frame();
  }
}

void SeekableZstdWriter::append_zeroes(uint64_t count) {
  while (count > 0) {
    if (buffer_.empty() && count >= kFrame) {
      write_frame(zeroes_, kFrame);
      count -= kFrame;
      continue;
    }
    const uint64_t part = std::min<uint64_t>(count, kFrame - buffer_.size());
    buffer_.resize(buffer_.size() + part);
    count -= part;
    if (buffer_.size() == kFrame) end_frame();
  }
}

void SeekableZstdWriter::finish() {
  end_frame();
  flush();
  std::vector<std::byte> table;
  put(table, kSkippableMagic);
  put(table, static_cast<uint32_t>(table_.size() * kPlainEntry + kTableFooter));
  for (const Entry& entry : table_) {
    put(table, entry.compressed);
    put(table, entry.size);
  }
  put(table, static_cast<uint32_t>(table_.size()));
  table.push_back(std::byte{0});
  put(table, kTableMagic);
  write_(table);
}

// ---- reading

std::unique_ptr<SeekableZstdReader> SeekableZstdReader::open(uint64_t file_size, Read read) {
  std::array<std::byte, kTableFooter> footer;
  if (file_size < kFrameHeader + kTableFooter || !read(file_size - kTableFooter, footer)) return nullptr;
  const uint32_t count = word_at(footer, 0);
  const auto flags = std::to_integer<uint8_t>(footer[4]);
  if (word_at(footer, 5) != kTableMagic || (flags & kReserved) != 0 || count > kMostFrames) return nullptr;
  const size_t entry_size = (flags & kHasSums) != 0 ? kEntryWithSum : kPlainEntry;
  const uint64_t table_size = kFrameHeader + count * entry_size + kTableFooter;
  if (table_size > file_size) return nullptr;
  std::vector<std::byte> table(table_size);
  if (!read(file_size - table_size, table)) return nullptr;
  if (word_at(table, 0) != kSkippableMagic || word_at(table, 4) != table_size - kFrameHeader) return nullptr;

  std::vector<Frame> frames{{0, 0}};
  frames.reserve(size_t{count} + 1);
  for (size_t i = 0; i < count; ++i) {
    const size_t at = kFrameHeader + i * entry_size;
    const uint32_t compressed = word_at(table, at), size = word_at(table, at + 4);
    if (size > kMostBytes || compressed > 2 * kMostBytes) return nullptr;
    frames.push_back({frames.back().start + size, frames.back().in_file + compressed});
  }
  if (frames.back().in_file > file_size - table_size) return nullptr;
  return std::unique_ptr<SeekableZstdReader>(new SeekableZstdReader(std::move(read), std::move(frames)));
}

SeekableZstdReader::SeekableZstdReader(Read read, std::vector<Frame> frames)
    : read_(std::move(read)), frames_(std::move(frames)), context_(::ZSTD_createDCtx()) {
  if (context_ == nullptr) throw Error("the host has no memory left to unpack with");
}

SeekableZstdReader::~SeekableZstdReader() { ::ZSTD_freeDCtx(context_); }

// The one that has the byte at `offset`, which is below size().
size_t SeekableZstdReader::frame_at(uint64_t offset) const {
  return static_cast<size_t>(std::ranges::upper_bound(frames_, offset, {}, &Frame::start) - frames_.begin()) - 1;
}

bool SeekableZstdReader::load(size_t frame) {
  compressed_.resize(frames_[frame + 1].in_file - frames_[frame].in_file);
  return read_(frames_[frame].in_file, compressed_);
}

bool SeekableZstdReader::has_zeroes(size_t frame) {
  const uint64_t size = frames_[frame + 1].start - frames_[frame].start;
  // Hundreds to one is more than anything but a few bytes again and again comes to.
  if (size / 256 < frames_[frame + 1].in_file - frames_[frame].in_file || !load(frame)) return false;
  if (size == zeroes_size_ && compressed_ == zeroes_) return true;
  const auto* bytes = unpack(frame);
  if (bytes == nullptr || !is_zero(*bytes)) return false;
  zeroes_ = compressed_;
  zeroes_size_ = size;
  return true;
}

const std::vector<std::byte>* SeekableZstdReader::unpack(size_t frame) {
  const auto known = std::ranges::find(kept_, frame, &Unpacked::frame);
  if (known != kept_.end()) {
    std::rotate(known, known + 1, kept_.end());
    return &kept_.back().bytes;
  }
  if (!load(frame)) return nullptr;
  std::vector<std::byte> bytes(frames_[frame + 1].start - frames_[frame].start);
  const size_t size =
      ::ZSTD_decompressDCtx(context_, bytes.data(), bytes.size(), compressed_.data(), compressed_.size());
  if (::ZSTD_isError(size) != 0 || size != bytes.size()) return nullptr;
  if (kept_.size() == kKept) kept_.erase(kept_.begin());
  kept_.push_back({frame, std::move(bytes)});
  return &kept_.back().bytes;
}

bool SeekableZstdReader::read(uint64_t offset, std::span<std::byte> to) {
  if (offset > size() || to.size() > size() - offset) return false;
  while (!to.empty()) {
    const size_t frame = frame_at(offset);
    const auto* bytes = unpack(frame);
    if (bytes == nullptr) return false;
    const auto part = std::span(*bytes).subspan(offset - frames_[frame].start);
    const size_t length = std::min(part.size(), to.size());
    std::ranges::copy(part.first(length), to.begin());
    offset += length;
    to = to.subspan(length);
  }
  return true;
}

std::optional<SeekableZstdReader::Extent> SeekableZstdReader::next_data(uint64_t offset) {
  if (offset >= size()) return std::nullopt;
  for (size_t frame = frame_at(offset); frame + 1 < frames_.size(); ++frame) {
    const Extent extent{std::max(offset, frames_[frame].start), frames_[frame + 1].start};
    if (extent.start < extent.end && !has_zeroes(frame)) return extent;
  }
  return std::nullopt;
}

}  // namespace vmm
