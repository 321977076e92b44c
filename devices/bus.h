// Bus: which device answers at an address. Used twice, for ports and for memory.
//
// The device is looked up under a lock and called after the lock is released, so a slow register never holds up another
// vCPU. Ranges may come and go while the guest runs (PCI BARs).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <shared_mutex>
#include <span>

#include "devices/device.h"

namespace vmm {

class Bus {
 public:
  // Puts a device at [start, start + size). The device must outlive its place. False when the range is empty, wraps or
  // overlaps another: then nothing has changed.
  bool add(uint64_t start, uint64_t size, Device& device);
  void remove(uint64_t start);

  // Both return the device that answered. An access that none answers, null then, reads as all ones and writes nowhere.
  // An access that runs past the end of its device is cut there.
  const Device* read(uint64_t address, std::span<std::byte> data);
  const Device* write(uint64_t address, std::span<const std::byte> data);

 private:
  struct Place {
    uint64_t size = 0;
    Device* device = nullptr;
  };
  struct Found {
    uint64_t offset = 0;
    size_t length = 0;
    Device* device = nullptr;
  };
  Found find(uint64_t address, size_t length) const;

  mutable std::shared_mutex mutex_;
  std::map<uint64_t, Place> places_;
};

}  // namespace vmm
