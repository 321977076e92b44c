// MsixTable: the vector table and pending bits of MSI-X. PCI Local Bus 3.0 §6.8.2.
//
// The guest writes each vector's message and mask; trigger() sends the message or, while masked, remembers that it is
// pending. Sending is one call of the host with the message, so a guest that masks and unmasks in a loop costs nobody
// but itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "devices/device_host.h"

namespace vmm {

class MsixTable {
 public:
  static constexpr size_t kEntrySize = 16;

  MsixTable(DeviceHost& host, size_t vectors);

  size_t size() const { return entries_.size(); }

  // Whose messages they are: bus, device and function. Called once, before the guest runs.
  void set_requester(uint16_t requester) { requester_ = requester; }

  // The message control bits the guest set in the capability.
  void set_control(bool enabled, bool masked);
  bool enabled() const;

  // Accesses to the table and to the pending bits, by offset in each.
  void read_table(uint64_t offset, std::span<std::byte> data) const;
  void write_table(uint64_t offset, std::span<const std::byte> data);
  void read_pending(uint64_t offset, std::span<std::byte> data) const;

  // What the guest has made of a vector, which is below size(), and how often its message has been sent. Any thread.
  struct Vector {
    MsiMessage message;
    bool masked = false;
    bool pending = false;
    uint64_t sent = 0;
  };
  Vector vector(size_t number) const;

  // Any thread. A vector beyond the table is ignored.
  void trigger(size_t vector);

 private:
  struct Entry {
    uint32_t words[4] = {0, 0, 0, 1};  // address low, address high, data, control (masked)
    bool pending = false;
    uint64_t sent = 0;
  };
  bool deliverable(const Entry& entry) const { return enabled_ && !masked_ && (entry.words[3] & 1) == 0; }
  MsiMessage message_of(const Entry& entry) const {
    return {uint64_t{entry.words[1]} << 32 | entry.words[0], entry.words[2], requester_};
  }
  void send_pending(Entry& entry);

  DeviceHost& host_;
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
  bool enabled_ = false;
  bool masked_ = false;
  uint16_t requester_ = 0;
};

}  // namespace vmm
