// RawFile: a disk whose bytes lie in a regular file or block device, one to one.
//
// Transfers are continued until they are complete, and the file never grows: should somebody truncate it, what lies
// past its new end fails, until it is back. An fdatasync that failed once fails for good, which is why a stable write
// is a write and an fdatasync, and not one with RWF_DSYNC: that would not say which of the two failed. With O_DIRECT,
// requests that are not aligned as the host wants go through one bounce buffer, one after the other, and those that
// change a block take turns, as a block that is written in part is read, and then written as a whole. The rules of
// durability: devices/README.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>

#include "devices/backends/disk/block_backend.h"
#include "devices/backends/disk/image_file.h"
#include "devices/backends/disk/image_lock.h"
#include "devices/backends/disk/io_engine.h"
#include "devices/backends/disk/range_lock.h"
#include "vmm/core/log.h"

namespace vmm {

class RawFile : public BlockBackend {
 public:
  // kKeep: space once written stays allocated, so that a later write cannot run out of it.
  enum class Sparse { kKeep, kGiveBack };

  RawFile(IoEngine& engine, ImageFile image, std::optional<ImageLock> lock, Sparse sparse);
  ~RawFile() override;

  std::string describe() const override;
  uint64_t size() const override { return image_.size; }
  bool read_only() const override { return image_.mode == ImageFile::Mode::kReadOnly; }
  BlockTopology topology() const override { return image_.topology; }
  uint64_t refresh_size() override;
  bool grow(uint64_t size) override;

  Task<int> read(uint64_t offset, std::span<iovec> to) override;
  Task<int> write(uint64_t offset, std::span<iovec> from, Durability durability) override;
  Task<int> flush() override;
  Task<int> discard(uint64_t offset, uint64_t length) override;
  Task<int> write_zeroes(uint64_t offset, uint64_t length, Unmap unmap) override;

 private:
  using Verb = IoRequest::Verb;
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  using AlignedBuffer = std::unique_ptr<std::byte[], Free>;

  bool needs_bounce(uint64_t offset, std::span<const iovec> data) const;
  Task<int> transfer(Verb verb, uint64_t offset, std::span<iovec> data);
  Task<int> bounced(Verb verb, uint64_t offset, std::span<iovec> data);
  RangeLock::Acquire change_blocks(uint64_t offset, uint64_t length);
  Task<int> allocate(int mode, uint64_t offset, uint64_t length);
  Task<int> write_zero_buffers(uint64_t offset, uint64_t length);
  void latch_flush_error(int error);
  void look_at_end();
  void move_fence(uint64_t storage);
  AlignedBuffer aligned_buffer(size_t size) const;

  IoEngine& engine_;
  ImageFile image_;
  std::optional<ImageLock> lock_;
  Sparse sparse_;
  int file_;
  uint64_t fence_;       // requests past it fail: the size, or less when the file shrank
  int flush_error_ = 0;  // of the first fdatasync that failed
  LogLimit errors_;

  std::chrono::steady_clock::time_point last_look_ = std::chrono::steady_clock::now();

  RangeLock flush_turn_;
  uint64_t flushes_asked_ = 0;
  uint64_t flushes_done_ = 0;

  RangeLock changes_;  // with O_DIRECT only; in blocks of offset_alignment
  RangeLock bounce_turn_;
  AlignedBuffer bounce_;
};

}  // namespace vmm
