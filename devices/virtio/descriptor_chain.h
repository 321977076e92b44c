// DescriptorChain: one buffer that the driver made available, as an object.
//
// It knows its readable and writable parts as checked slices of guest memory. Destroying it returns it to the driver
// with the number of bytes that were written through it, so a chain cannot be lost or returned twice. Virtio 1.2 §2.7.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vmm/core/guest_memory.h"

namespace vmm {

class Virtqueue;

class DescriptorChain {
 public:
  DescriptorChain(DescriptorChain&& other) noexcept;
  DescriptorChain& operator=(DescriptorChain&&) = delete;
  ~DescriptorChain();

  // The device-readable and device-writable buffers in order. Empty buffers are left out.
  std::span<const GuestSlice> readable() const { return {slices_.data(), readable_count_}; }
  std::span<const GuestSlice> writable() const {
    return {slices_.data() + readable_count_, slices_.size() - readable_count_};
  }
  size_t readable_size() const;
  size_t writable_size() const;

  // Copies from the readable part at `offset`, across buffers; returns how many bytes there were.
  size_t read_at(size_t offset, std::span<std::byte> to) const;
  // Copies into the writable part at `offset`, across buffers; returns how many bytes fitted. Does not count as
  // written by itself: see set_written().
  size_t write_at(size_t offset, std::span<const std::byte> from) const;
  // Appends to what has been written so far (from the start of the writable part) and counts it.
  size_t write(std::span<const std::byte> from);
  // The number of bytes the device has written from the start of the writable part: the used length (§2.7.8). Bytes
  // counted here must really have been written, or the driver reads stale memory.
  void set_written(size_t bytes) { written_ = static_cast<uint32_t>(bytes); }
  size_t written() const { return written_; }

 private:
  friend class Virtqueue;
  DescriptorChain(Virtqueue& queue, uint16_t head) : queue_(&queue), head_(head) {}

  Virtqueue* queue_;
  std::vector<GuestSlice> slices_;  // readable first
  size_t readable_count_ = 0;
  uint16_t head_;
  uint32_t written_ = 0;
};

}  // namespace vmm
