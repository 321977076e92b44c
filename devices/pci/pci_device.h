// PciDevice: one function's configuration space and its memory BAR. PCI Local Bus 3.0 §6.
//
// Every device here has a type 0 header, at most one 32-bit memory BAR, and possibly a wire (INTA). The configuration
// space is bytes with a mask of what the guest may write. When the guest moves the BAR or turns memory decoding on or
// off, the BAR's place on the memory bus follows, and bar_moved() tells the device.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "devices/bus.h"
#include "devices/device.h"
#include "devices/irq.h"

namespace vmm {

struct PciIdentity {
  uint16_t vendor = 0;
  uint16_t device = 0;
  uint16_t subsystem_vendor = 0;
  uint16_t subsystem = 0;
  uint32_t class_code = 0;  // class, subclass, programming interface
  uint8_t revision = 0;
};

// Its own Device::read and write are accesses to the BAR, by offset; without a BAR they are never called.
class PciDevice : public Device {
 public:
  static constexpr size_t kConfigSize = 256;

  // `bar_size` is a power of two from 4 KiB on, or zero for none.
  PciDevice(const PciIdentity& identity, uint32_t bar_size);
  ~PciDevice() override;

  void read(uint64_t, std::span<std::byte>) override {}
  void write(uint64_t, std::span<const std::byte>) override {}

  uint32_t bar_size() const { return bar_size_; }

  // Its bus, device and function, for messages. Called before plug().
  virtual void placed(uint16_t /*requester*/) {}
  // Gives the device its place: where its BAR begins (the guest may move it), the wire it may pull, and the number the
  // guest reads for that wire. Called once, before the guest runs.
  void plug(Bus& memory_bus, uint32_t bar_address, std::unique_ptr<IrqLine> intx, uint8_t interrupt_line);

  // Any offset and width. What lies beyond the configuration space reads as zero.
  void read_config(uint64_t offset, std::span<std::byte> data);
  void write_config(uint64_t offset, std::span<const std::byte> data);
  // Identity, BAR, interrupts and capabilities, a line each: for a person. Any thread.
  std::string describe_configuration();

 protected:
  // Adds a capability (its body without the two header bytes), with the bits of the body that the guest may write.
  // Returns its offset in configuration space. Construction only.
  uint8_t add_capability(uint8_t id, std::span<const std::byte> body, std::span<const std::byte> writable = {});

  // Sees configuration accesses first; true when it has dealt with the whole of one.
  virtual bool config_read_hook(uint64_t /*offset*/, std::span<std::byte> /*data*/) { return false; }
  // Told after a write has changed configuration space.
  virtual void config_written(uint64_t /*offset*/, size_t /*length*/) {}
  // The BAR is now at `address`, or nowhere. Called on a vCPU thread.
  virtual void bar_moved(std::optional<uint64_t> /*address*/) {}

  // Pulls or releases INTA, unless the guest disabled it.
  void set_intx(bool level);

  uint8_t config_byte(size_t offset);
  uint32_t config_dword(size_t offset);

 private:
  void remap_bar();
  void update_intx();
  uint16_t command() const;

  std::mutex config_mutex_;
  std::array<std::byte, kConfigSize> config_{};
  std::array<std::byte, kConfigSize> writable_{};
  size_t next_capability_ = 0x40;
  size_t last_capability_link_ = 0x34;
  const uint32_t bar_size_;
  Bus* memory_bus_ = nullptr;
  // Held while the BAR moves, so that two vCPUs cannot map it twice; around config_mutex_, for which interrupts wait.
  std::mutex bar_mutex_;
  std::optional<uint64_t> bar_mapped_;
  std::unique_ptr<IrqLine> intx_;
  bool intx_level_ = false;
};

}  // namespace vmm
