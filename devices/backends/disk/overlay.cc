// Merged reads and first writes; see overlay.h.
#include "devices/backends/disk/overlay.h"

#include <algorithm>
#include <vector>

#include "devices/backends/iovecs.h"
#include "vmm/core/check.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

Overlay::Overlay(std::unique_ptr<BlockBackend> base, std::unique_ptr<BlockBackend> scratch)
    : base_(std::move(base)), scratch_(std::move(scratch)) {
  CHECK(base_->size() == scratch_->size());
  written_ = make_bits(size());
  if (!written_) throw Error("not enough memory for an ephemeral disk of this size");
}

// calloc: large memory comes zeroed from the kernel and costs nothing until it is written.
Overlay::Bits Overlay::make_bits(uint64_t bytes) {
  return Bits(static_cast<uint64_t*>(std::calloc(words_for(bytes), sizeof(uint64_t))));
}

// Grows with the base. Not from within a block: what the scratch disk has of one, it has until the end.
uint64_t Overlay::refresh_size() {
  const uint64_t before = size();
  const uint64_t storage = base_->refresh_size();
  const uint64_t now = base_->size();
  if (now == before) return storage;
  Bits bits = make_bits(now);
  if (before % kBlock != 0 || !bits || !scratch_->grow(now)) {
    log_warn("{}: stays at {} bytes, because its throw-away copy cannot grow", base_->describe(), before);
    return storage;
  }
  std::copy_n(written_.get(), words_for(before), bits.get());
  written_ = std::move(bits);
  return storage;
}

BlockTopology Overlay::topology() const {
  return {.logical_block = base_->topology().logical_block, .physical_block = kBlock};
}

Overlay::Blocks Overlay::blocks_of(uint64_t offset, uint64_t length) {
  return {offset / kBlock, (offset + length - 1) / kBlock};
}

bool Overlay::all_written(Blocks blocks) const {
  for (uint64_t block = blocks.first; block <= blocks.last; ++block) {
    if (!written(block)) return false;
  }
  return true;
}

void Overlay::set_written(Blocks blocks) {
  for (uint64_t block = blocks.first; block <= blocks.last; ++block) written_[block / 64] |= 1ULL << (block % 64);
}

// How much of the range, from its start on, lies on one side.
uint64_t Overlay::run_length(uint64_t offset, uint64_t length) const {
  const Blocks blocks = blocks_of(offset, length);
  const bool side = written(blocks.first);
  for (uint64_t block = blocks.first + 1; block <= blocks.last; ++block) {
    if (written(block) != side) return block * kBlock - offset;
  }
  return length;
}

Task<int> Overlay::read(uint64_t offset, std::span<iovec> to) {
  uint64_t left = total_size(to);
  while (left > 0) {
    const uint64_t run = run_length(offset, left);
    BlockBackend& side = written(offset / kBlock) ? *scratch_ : *base_;
    if (run == left) co_return co_await side.read(offset, to);
    std::vector<iovec> part = copy_front(to, run);
    const uint64_t step = total_size(part);
    if (const int error = co_await side.read(offset, part)) co_return error;
    offset += step;
    left -= step;
    to = drop_front(to, step);
  }
  co_return 0;
}

Task<int> Overlay::write(uint64_t offset, std::span<iovec> from, Durability) {
  const uint64_t length = total_size(from);
  if (length == 0) co_return 0;
  const Blocks blocks = blocks_of(offset, length);
  if (all_written(blocks)) co_return co_await scratch_->write(offset, from, Durability::kCached);
  // First writes of a block take turns, or one could copy old contents over what the other wrote.
  const auto turn = co_await first_writes_.acquire(blocks.first, blocks.last);
  if (const int error = co_await copy_edges(offset, length)) co_return error;
  if (const int error = co_await scratch_->write(offset, from, Durability::kCached)) co_return error;
  set_written(blocks);
  co_return 0;
}

// Nothing of this disk outlives the process, so there is nothing to make stable.
Task<int> Overlay::flush() { co_return 0; }

Task<int> Overlay::discard(uint64_t offset, uint64_t length) {
  // Gives back the copy's space. Blocks still in the base are holes of the scratch disk already.
  return scratch_->discard(offset, length);
}

Task<int> Overlay::write_zeroes(uint64_t offset, uint64_t length, Unmap) {
  if (length == 0) co_return 0;
  const Blocks blocks = blocks_of(offset, length);
  const auto turn = co_await first_writes_.acquire(blocks.first, blocks.last);
  if (const int error = co_await copy_edges(offset, length)) co_return error;
  if (const int error = co_await scratch_->write_zeroes(offset, length, Unmap::kAllowed)) co_return error;
  set_written(blocks);
  co_return 0;
}

// Copies the blocks that the range covers only in part, where they are still in the base.
Task<int> Overlay::copy_edges(uint64_t offset, uint64_t length) {
  const Blocks blocks = blocks_of(offset, length);
  if (offset % kBlock != 0) {
    if (const int error = co_await copy_block(blocks.first)) co_return error;
  }
  const bool cut_end = (offset + length) % kBlock != 0 && offset + length != size();
  const bool copied = blocks.last == blocks.first && offset % kBlock != 0;
  if (!cut_end || copied) co_return 0;
  co_return co_await copy_block(blocks.last);
}

// The caller has the block's turn, and marks it written once it has added its own part.
Task<int> Overlay::copy_block(uint64_t block) {
  if (written(block)) co_return 0;
  std::vector<std::byte> content(std::min<uint64_t>(kBlock, size() - block * kBlock));
  iovec buffer{content.data(), content.size()};
  if (const int error = co_await base_->read(block * kBlock, {&buffer, 1})) co_return error;
  buffer = {content.data(), content.size()};
  co_return co_await scratch_->write(block * kBlock, {&buffer, 1}, Durability::kCached);
}

}  // namespace vmm
