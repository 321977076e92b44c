// Copying through a chain's buffers; see descriptor_chain.h.
#include "devices/virtio/descriptor_chain.h"

#include <algorithm>
#include <utility>

#include "devices/virtio/virtqueue.h"

namespace vmm {

namespace {

size_t total_size(std::span<const GuestSlice> slices) {
  size_t sum = 0;
  for (const GuestSlice& slice : slices) sum += slice.size();
  return sum;
}

// Calls copy(slice, done) for each part of `slices` that lies in [offset, offset + length); returns the bytes copied.
template <typename Copy>
size_t for_range(std::span<const GuestSlice> slices, size_t offset, size_t length, Copy copy) {
  size_t done = 0;
  for (const GuestSlice& slice : slices) {
    if (done == length) break;
    if (offset >= slice.size()) {
      offset -= slice.size();
      continue;
    }
    const GuestSlice part = slice.sub(offset, length - done);
    copy(part, done);
    done += part.size();
    offset = 0;
  }
  return done;
}

}  // namespace

DescriptorChain::DescriptorChain(DescriptorChain&& other) noexcept
    : queue_(std::exchange(other.queue_, nullptr)),
      slices_(std::move(other.slices_)),
      readable_count_(other.readable_count_),
      head_(other.head_),
      written_(other.written_) {}

DescriptorChain::~DescriptorChain() {
  if (queue_ != nullptr) queue_->complete(*this);
}

size_t DescriptorChain::readable_size() const { return total_size(readable()); }
size_t DescriptorChain::writable_size() const { return total_size(writable()); }

size_t DescriptorChain::read_at(size_t offset, std::span<std::byte> to) const {
  return for_range(readable(), offset, to.size(),
                   [to](const GuestSlice& part, size_t done) { part.copy_out(to.subspan(done)); });
}

size_t DescriptorChain::write_at(size_t offset, std::span<const std::byte> from) const {
  return for_range(writable(), offset, from.size(),
                   [from](const GuestSlice& part, size_t done) { part.copy_in(from.subspan(done)); });
}

size_t DescriptorChain::write(std::span<const std::byte> from) {
  const size_t done = write_at(written_, from);
  written_ += static_cast<uint32_t>(done);
  return done;
}

}  // namespace vmm
