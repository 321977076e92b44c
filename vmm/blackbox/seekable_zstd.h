// The seekable format of zstd: a stream that is cut into frames, each compressed by itself, with a table of them at its
// end in a frame that others skip. `zstd -d` unpacks it like any other, and who knows the table reads any part of it
// without what is before. See contrib/seekable_format/zstd_seekable_compression_format.md in zstd.
//
// A frame of zeroes is compressed once, so that memory nobody used costs next to nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace vmm {

class SeekableZstdWriter {
 public:
  static constexpr size_t kFrame = size_t{256} << 10;  // bytes, before compression; the last may be shorter

  // `write` is given the compressed bytes, in order. Throws Error when the host has no memory.
  explicit SeekableZstdWriter(std::function<void(std::span<const std::byte>)> write);
  SeekableZstdWriter(const SeekableZstdWriter&) = delete;
  SeekableZstdWriter& operator=(const SeekableZstdWriter&) = delete;
  ~SeekableZstdWriter();

  void append(std::span<const std::byte> bytes);
  void append_zeroes(uint64_t count);
  void finish();  // once, at the end

 private:
  struct Entry {
    uint32_t compressed, size;
  };

  void write_frame(std::span<const std::byte> frame, size_t size);
  std::vector<std::byte> compress(std::span<const std::byte> bytes);
  void end_frame();
  void flush();

  std::function<void(std::span<const std::byte>)> write_;
  ZSTD_CCtx_s* context_;
  std::vector<std::byte> buffer_;
  std::vector<std::byte> zeroes_;  // a whole frame of them, compressed
  std::vector<std::byte> out_;     // to be written: frames of zeroes are too small for a write(2) each
  std::vector<Entry> table_;
};

class SeekableZstdReader {
 public:
  static constexpr uint32_t kMagic = 0xfd2fb528;  // what a zstd file begins with, in little endian

  // Reads some bytes of the file; false when they are not there.
  using Read = std::function<bool(uint64_t offset, std::span<std::byte> to)>;

  // Nothing in the file is trusted. Empty when it has no table, or one that does not fit it.
  static std::unique_ptr<SeekableZstdReader> open(uint64_t file_size, Read read);
  SeekableZstdReader(const SeekableZstdReader&) = delete;
  SeekableZstdReader& operator=(const SeekableZstdReader&) = delete;
  ~SeekableZstdReader();

  uint64_t size() const { return frames_.back().start; }
  // Reads a part of what was compressed. False when it is not there, or damaged.
  bool read(uint64_t offset, std::span<std::byte> to);
  // From `offset` on, where the next frame that is other than zeroes begins and ends; empty: there is none.
  struct Extent {
    uint64_t start, end;
  };
  std::optional<Extent> next_data(uint64_t offset);

 private:
  static constexpr uint32_t kMostBytes = 1 << 20;  // of a frame
  static constexpr size_t kKept = 16;              // frames, unpacked

  struct Frame {
    uint64_t start;    // of what was compressed
    uint64_t in_file;  // where it is
  };
  struct Unpacked {
    size_t frame;
    std::vector<std::byte> bytes;
  };

  SeekableZstdReader(Read read, std::vector<Frame> frames);
  size_t frame_at(uint64_t offset) const;
  const std::vector<std::byte>* unpack(size_t frame);
  bool load(size_t frame);  // into compressed_
  bool has_zeroes(size_t frame);

  Read read_;
  std::vector<Frame> frames_;  // all frames, and the end of the last one as one more
  ZSTD_DCtx_s* context_;
  std::vector<std::byte> compressed_;
  std::vector<std::byte> zeroes_;  // a frame of them, compressed: most of what a guest never used looks like it
  uint64_t zeroes_size_ = 0;
  std::vector<Unpacked> kept_;  // the one used last is the last
};

}  // namespace vmm
