// See outstanding_heads.h. The layout of the ring is that of virtqueue.cc.
#include "devices/virtio/outstanding_heads.h"

#include <algorithm>

#include "devices/virtio/spec.h"

namespace vmm {

namespace {

constexpr size_t kIndexOffset = 2;
constexpr size_t kRingOffset = 4;

// Virtqueue::create() has checked it.
GuestSlice part(const Virtqueue& queue, GuestAddress address, size_t entry) {
  return queue.memory().slice(address, kRingOffset + queue.size() * entry).value_or(GuestSlice());
}

uint16_t distance(uint16_t from, uint16_t to) { return static_cast<uint16_t>(to - from); }

}  // namespace

OutstandingHeads::OutstandingHeads(const Virtqueue& queue)
    : size_(queue.size()),
      available_(part(queue, queue.config().available, sizeof(uint16_t))),
      used_(part(queue, queue.config().used, sizeof(vring_used_elem))),
      count_(queue.size(), 0) {}

uint16_t OutstandingHeads::available_index() const {
  return available_.load<uint16_t>(kIndexOffset, std::memory_order_seq_cst);
}

uint16_t OutstandingHeads::used_index() const { return used_.load<uint16_t>(kIndexOffset, std::memory_order_seq_cst); }

uint16_t OutstandingHeads::available_at(uint16_t index) const {
  return available_.load<uint16_t>(kRingOffset + index % size_ * sizeof(uint16_t));
}

bool OutstandingHeads::observe() {
  const uint16_t used = used_index();
  const uint16_t available = available_index();  // after it: what was returned had been made available
  const bool returned = used != seen_used_;
  known_ = known_ && follow(available, used);
  if (!known_ && used == available && used_index() == used && available_index() == available) {
    std::ranges::fill(count_, int8_t{0});
    known_ = true;
  }
  seen_available_ = available;
  seen_used_ = used;
  return returned;
}

// False when entries may have been missed, or are not such as a driver and a device write.
bool OutstandingHeads::follow(uint16_t available, uint16_t used) {
  if (distance(seen_available_, available) > size_ || distance(seen_used_, used) > size_) return false;
  for (uint16_t at = seen_available_; at != available; ++at) {
    const uint16_t head = available_at(at);
    if (head >= size_ || ++count_[head] > 2) return false;  // 2: returned meanwhile, and made available again
  }
  for (uint16_t at = seen_used_; at != used; ++at) {
    const auto head = used_.load<uint32_t>(kRingOffset + at % size_ * sizeof(vring_used_elem));
    if (head >= size_ || --count_[head] < 0) return false;
  }
  // Entries that were read may have been overwritten before.
  return distance(seen_available_, available_index()) <= size_ && distance(seen_used_, used_index()) <= size_;
}

std::optional<std::vector<uint16_t>> OutstandingHeads::heads() {
  observe();
  std::vector<uint16_t> heads;
  for (uint16_t head = 0; head < size_; ++head) {
    if (count_[head] > 0) heads.push_back(head);
    if (count_[head] > 1) known_ = false;
  }
  if (!known_ || heads.size() != distance(seen_used_, seen_available_)) return std::nullopt;
  return heads;
}

void OutstandingHeads::make_next() {
  auto outstanding = heads();
  if (!outstanding) return;
  std::vector<uint16_t> next;
  for (uint16_t at = seen_used_; at != seen_available_; ++at) next.push_back(available_at(at));
  // In a ring that is served in order they are these already, and stay in their order.
  std::vector<uint16_t> sorted = next;
  std::ranges::sort(sorted);
  if (sorted == *outstanding) return;
  uint16_t at = seen_used_;
  for (const uint16_t head : *outstanding) {
    available_.store<uint16_t>(kRingOffset + at++ % size_ * sizeof(uint16_t), head);
  }
}

}  // namespace vmm
