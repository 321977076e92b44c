// PcTestdev: QEMU's device of that name, by which kvm-unit-tests makes happen what no other device does on demand.
//
//   port 0xe0, 4 ports     keep what is written; 0xe8 is the same again
//   port 0xe4              a write of a page's address has KVM look that page up anew
//   port 0x2000, 24 ports  bytes: the levels of the interrupt controllers' inputs
//   0xff000000, 64 KiB     keep what is written, but are no memory: every access leaves the guest
//
// QEMU hw/misc/pc-testdev.c.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "devices/bus.h"
#include "devices/device.h"
#include "devices/irq.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

class PcTestdev {
 public:
  static constexpr size_t kInputs = 24;
  using Inputs = std::array<std::unique_ptr<IrqLine>, kInputs>;

  PcTestdev(const GuestMemory& memory, Inputs inputs) : page_lookup_(memory), levels_(std::move(inputs)) {}

  // False when another device is in the way.
  bool plug(Bus& ports, Bus& memory) {
    constexpr uint64_t kPorts = 0xe0, kPageLookup = 0xe4, kPortsAgain = 0xe8, kLevels = 0x2000, kMemory = 0xff000000;
    return ports.add(kPorts, kScratchPorts, ports_) && ports.add(kPageLookup, 4, page_lookup_) &&
           ports.add(kPortsAgain, kScratchPorts, ports_) && ports.add(kLevels, kInputs, levels_) &&
           memory.add(kMemory, kScratchMemory, memory_);
  }
  // Whether a bus means this one.
  bool is(const Device* device) const {
    return device == &ports_ || device == &memory_ || device == &page_lookup_ || device == &levels_;
  }

 private:
  static constexpr size_t kScratchPorts = 4;
  static constexpr size_t kScratchMemory = 0x10000;

  class Scratch : public Device {
   public:
    explicit Scratch(size_t size) : bytes_(size) {}
    // A Bus cuts accesses at the end of a device.
    void read(uint64_t offset, std::span<std::byte> data) override {
      const std::lock_guard lock(mutex_);
      std::memcpy(data.data(), bytes_.data() + offset, data.size());
    }
    void write(uint64_t offset, std::span<const std::byte> data) override {
      const std::lock_guard lock(mutex_);
      std::memcpy(bytes_.data() + offset, data.data(), data.size());
    }

   private:
    std::mutex mutex_;
    std::vector<std::byte> bytes_;
  };

  class PageLookup : public Device {
   public:
    explicit PageLookup(const GuestMemory& memory) : memory_(memory) {}
    void read(uint64_t, std::span<std::byte> data) override { std::ranges::fill(data, std::byte{0xff}); }
    void write(uint64_t, std::span<const std::byte> data) override {
      uint32_t address = 0;
      if (data.size() != sizeof address) return;
      std::memcpy(&address, data.data(), sizeof address);
      const uint64_t start = address & ~(GuestMemory::kPageSize - 1);
      if (const auto page = memory_.slice({start}, GuestMemory::kPageSize)) page->look_up_anew();
    }

   private:
    const GuestMemory& memory_;
  };

  class Levels : public Device {
   public:
    explicit Levels(Inputs inputs) : inputs_(std::move(inputs)) {}
    void read(uint64_t, std::span<std::byte> data) override { std::ranges::fill(data, std::byte{0xff}); }
    void write(uint64_t offset, std::span<const std::byte> data) override {
      if (data.size() == 1) inputs_[offset]->set(data.front() != std::byte{0});
    }

   private:
    const Inputs inputs_;
  };

  Scratch ports_{kScratchPorts};
  Scratch memory_{kScratchMemory};
  PageLookup page_lookup_;
  Levels levels_;
};

}  // namespace vmm
