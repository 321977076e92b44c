// BlockBackend: where a disk's bytes are kept. A fixed-size array of bytes that is read and written asynchronously.
//
// The calls are made on the loop and answer 0 or an errno value. Ranges lie inside size(), which the caller has
// checked. Buffer lists are used up: a backend may shorten them, and of a read that failed, what it has taken off them
// has been filled. Calls run concurrently and in no order; a flush covers
// the writes that completed before it was called.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <string>

#include "vmm/core/async.h"

namespace vmm {

// What a guest should know to issue requests that cost no more than they must. All powers of two, in bytes.
struct BlockTopology {
  uint32_t logical_block = 512;   // the unit of addressing: partition tables depend on it
  uint32_t physical_block = 512;  // writes of less than this, or across it, cost a read first
};

enum class Durability {
  kCached,  // survives the guest
  kStable,  // survives the host: as if a flush followed
};

enum class Unmap { kForbidden, kAllowed };

class BlockBackend {
 public:
  virtual ~BlockBackend() = default;

  virtual std::string describe() const = 0;  // "rootfs.img (raw, 2.0 GiB)": for messages
  virtual uint64_t size() const = 0;         // bytes, a multiple of 512
  virtual bool read_only() const = 0;
  virtual BlockTopology topology() const = 0;
  // Looks whether the storage grew, and takes the new size on. Returns the size of the storage now: smaller than size()
  // when it shrank. Blocks: not for the path of a request.
  virtual uint64_t refresh_size() { return size(); }
  // Makes the storage larger, where it is ours to do so. False when the host refuses. Blocks.
  virtual bool grow(uint64_t /*size*/) { return false; }

  virtual Task<int> read(uint64_t offset, std::span<iovec> to) = 0;
  virtual Task<int> write(uint64_t offset, std::span<iovec> from, Durability durability) = 0;
  virtual Task<int> flush() = 0;
  // The contents may become anything; the storage may be given back.
  virtual Task<int> discard(uint64_t offset, uint64_t length) = 0;
  // The contents become zeroes.
  virtual Task<int> write_zeroes(uint64_t offset, uint64_t length, Unmap unmap) = 0;
};

}  // namespace vmm
