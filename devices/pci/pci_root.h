// PciRoot: bus 0 with its slots, reached by memory (ECAM) and by the ports 0xcf8/0xcfc.
//
// Slot 0 is the host bridge. Each device takes the next slot, function 0, and gets its BAR's first address from the
// memory window, as firmware would do it. PCI Express 3.0 §7.2.2 (ECAM), PCI Local Bus 3.0 §3.2.2.3.2 (ports).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>

#include "devices/bus.h"
#include "devices/pci/pci_device.h"

namespace vmm {

class PciRoot {
 public:
  static constexpr size_t kSlots = 32;
  static constexpr uint64_t kEcamSize = 1 << 20;  // one bus

  // BARs are given out of [window_start, window_start + window_size).
  PciRoot(Bus& memory_bus, uint32_t window_start, uint32_t window_size);
  ~PciRoot();

  // A wire for a slot, and the number that the guest reads for it.
  struct Wire {
    std::unique_ptr<IrqLine> line;
    uint8_t number = 0;
  };
  // Puts a device in the next free slot; `wire` is asked for that slot's INTA. Throws Error when all slots or the
  // window are taken. Returns the slot.
  size_t plug(std::unique_ptr<PciDevice> device, const std::function<Wire(size_t slot)>& wire);

  PciDevice& host_bridge() { return *devices_[0]; }
  Device& ecam();   // kEcamSize bytes of memory
  Device& ports();  // 8 ports from 0xcf8 on

 private:
  class Ecam;
  class Ports;
  void read(size_t slot_function, uint64_t offset, std::span<std::byte> data);
  void write(size_t slot_function, uint64_t offset, std::span<const std::byte> data);

  Bus& memory_bus_;
  uint64_t next_bar_;
  uint64_t window_end_;
  size_t next_slot_ = 0;
  std::array<std::unique_ptr<PciDevice>, kSlots> devices_;
  std::unique_ptr<Ecam> ecam_;
  std::unique_ptr<Ports> ports_;
};

}  // namespace vmm
