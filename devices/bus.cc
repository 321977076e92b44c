// Address to device; see bus.h.
#include "devices/bus.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <mutex>

namespace vmm {

bool Bus::add(uint64_t start, uint64_t size, Device& device) {
  const std::lock_guard lock(mutex_);
  uint64_t end = 0;
  if (size == 0 || __builtin_add_overflow(start, size, &end)) return false;
  const auto next = places_.lower_bound(start);
  if (next != places_.end() && next->first < end) return false;
  if (next != places_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second.size > start) return false;
  }
  places_.emplace_hint(next, start, Place{size, &device});
  return true;
}

void Bus::remove(uint64_t start) {
  const std::lock_guard lock(mutex_);
  places_.erase(start);
}

Bus::Found Bus::find(uint64_t address, size_t length) const {
  const std::shared_lock lock(mutex_);
  auto place = places_.upper_bound(address);
  if (place == places_.begin()) return {};
  --place;
  const uint64_t offset = address - place->first;
  if (offset >= place->second.size) return {};
  return {offset, static_cast<size_t>(std::min<uint64_t>(length, place->second.size - offset)), place->second.device};
}

const Device* Bus::read(uint64_t address, std::span<std::byte> data) {
  std::fill(data.begin(), data.end(), std::byte{0xff});
  const Found found = find(address, data.size());
  if (found.device == nullptr) return nullptr;
  found.device->read(found.offset, data.first(found.length));
  return found.device;
}

const Device* Bus::write(uint64_t address, std::span<const std::byte> data) {
  const Found found = find(address, data.size());
  if (found.device == nullptr) return nullptr;
  found.device->write(found.offset, data.first(found.length));
  return found.device;
}

}  // namespace vmm
