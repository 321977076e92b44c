// Vectors, masks and pending bits; see msix.h.
#include "devices/pci/msix.h"

#include <algorithm>
#include <cstring>

namespace vmm {

MsixTable::MsixTable(DeviceHost& host, size_t vectors) : host_(host), entries_(vectors) {}

void MsixTable::set_control(bool enabled, bool masked) {
  const std::lock_guard lock(mutex_);
  enabled_ = enabled;
  masked_ = masked;
  for (Entry& entry : entries_) send_pending(entry);
}

bool MsixTable::enabled() const {
  const std::lock_guard lock(mutex_);
  return enabled_;
}

// The table takes aligned accesses of 4 or 8 bytes (§6.8.2); anything else reads as zero and writes nothing.
void MsixTable::read_table(uint64_t offset, std::span<std::byte> data) const {
  std::fill(data.begin(), data.end(), std::byte{0});
  if (offset % 4 != 0 || data.size() % 4 != 0) return;
  const std::lock_guard lock(mutex_);
  for (size_t done = 0; done < data.size(); done += 4) {
    const uint64_t word = (offset + done) / 4;
    if (word / 4 >= entries_.size()) return;
    std::memcpy(data.data() + done, &entries_[word / 4].words[word % 4], 4);
  }
}

void MsixTable::write_table(uint64_t offset, std::span<const std::byte> data) {
  if (offset % 4 != 0 || data.size() % 4 != 0) return;
  const std::lock_guard lock(mutex_);
  for (size_t done = 0; done < data.size(); done += 4) {
    const uint64_t word = (offset + done) / 4;
    if (word / 4 >= entries_.size()) return;
    Entry& entry = entries_[word / 4];
    std::memcpy(&entry.words[word % 4], data.data() + done, 4);
    if (word % 4 == 3) entry.words[3] &= 1;
    send_pending(entry);
  }
}

void MsixTable::read_pending(uint64_t offset, std::span<std::byte> data) const {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < data.size(); ++i) {
    unsigned bits = 0;
    for (size_t bit = 0; bit < 8; ++bit) {
      const uint64_t vector = (offset + i) * 8 + bit;
      if (vector < entries_.size() && entries_[vector].pending) bits |= 1u << bit;
    }
    data[i] = static_cast<std::byte>(bits);
  }
}

void MsixTable::trigger(size_t vector) {
  const std::lock_guard lock(mutex_);
  if (vector >= entries_.size()) return;
  entries_[vector].pending = true;
  send_pending(entries_[vector]);
}

void MsixTable::send_pending(Entry& entry) {
  if (!entry.pending || !deliverable(entry)) return;
  entry.pending = false;
  ++entry.sent;
  host_.signal_msi(message_of(entry));
}

MsixTable::Vector MsixTable::vector(size_t number) const {
  const std::lock_guard lock(mutex_);
  const Entry& entry = entries_.at(number);
  return {.message = message_of(entry),
          .masked = masked_ || (entry.words[3] & 1) != 0,
          .pending = entry.pending,
          .sent = entry.sent};
}

}  // namespace vmm
