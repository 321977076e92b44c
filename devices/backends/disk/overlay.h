// Overlay: a throw-away copy of a disk (`--disk F,ephemeral`). Copy on write, block by block.
//
// Reads come from the base until a block has been written; writes go to a scratch disk of the same size, a sparse file
// without a name that ends with the process. One bit per block tells which of the two holds it. A block is 4 KiB: what
// guests write is a multiple of that, so hardly any write has to copy the rest of a block first, and 1 TiB of disk
// needs 32 MiB of bits, of which only the pages are paid for that cover written blocks.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "devices/backends/disk/block_backend.h"
#include "devices/backends/disk/range_lock.h"

namespace vmm {

class Overlay : public BlockBackend {
 public:
  static constexpr uint32_t kBlock = 4096;

  // `scratch` reads as whatever it likes and has the size of `base`.
  Overlay(std::unique_ptr<BlockBackend> base, std::unique_ptr<BlockBackend> scratch);

  std::string describe() const override { return base_->describe() + " ephemeral"; }
  uint64_t size() const override { return scratch_->size(); }
  bool read_only() const override { return false; }
  BlockTopology topology() const override;
  uint64_t refresh_size() override;

  Task<int> read(uint64_t offset, std::span<iovec> to) override;
  Task<int> write(uint64_t offset, std::span<iovec> from, Durability durability) override;
  Task<int> flush() override;
  Task<int> discard(uint64_t offset, uint64_t length) override;
  Task<int> write_zeroes(uint64_t offset, uint64_t length, Unmap unmap) override;

 private:
  // The blocks that a range of bytes touches, first and last.
  struct Blocks {
    uint64_t first;
    uint64_t last;
  };
  struct Free {
    void operator()(uint64_t* memory) const { std::free(memory); }
  };

  using Bits = std::unique_ptr<uint64_t[], Free>;

  static size_t words_for(uint64_t bytes) { return bytes / kBlock / 64 + 1; }
  static Bits make_bits(uint64_t bytes);
  static Blocks blocks_of(uint64_t offset, uint64_t length);
  bool written(uint64_t block) const { return (written_[block / 64] >> (block % 64) & 1) != 0; }
  bool all_written(Blocks blocks) const;
  void set_written(Blocks blocks);
  uint64_t run_length(uint64_t offset, uint64_t length) const;
  Task<int> copy_edges(uint64_t offset, uint64_t length);
  Task<int> copy_block(uint64_t block);

  std::unique_ptr<BlockBackend> base_;
  std::unique_ptr<BlockBackend> scratch_;
  Bits written_;            // one bit per block
  RangeLock first_writes_;  // of blocks
};

}  // namespace vmm
