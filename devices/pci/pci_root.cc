// Two ways into configuration space; see pci_root.h.
#include "devices/pci/pci_root.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "vmm/core/error.h"

namespace vmm {

namespace {

// The bridge that QEMU's PCI Express hosts show: operating systems know it and expect nothing of it.
constexpr PciIdentity kHostBridge{
    .vendor = 0x1b36, .device = 0x0008, .subsystem_vendor = 0x1af4, .subsystem = 0x1100, .class_code = 0x060000};

}  // namespace

// Address bits: bus 27:20, device and function 19:12, register 11:0.
class PciRoot::Ecam : public Device {
 public:
  explicit Ecam(PciRoot& root) : root_(root) {}
  void read(uint64_t offset, std::span<std::byte> data) override { root_.read(offset >> 12, offset & 0xfff, data); }
  void write(uint64_t offset, std::span<const std::byte> data) override {
    root_.write(offset >> 12, offset & 0xfff, data);
  }

 private:
  PciRoot& root_;
};

// CONFIG_ADDRESS at 0 (enable 31, bus 23:16, device and function 15:8, register 7:2), CONFIG_DATA at 4 to 7.
class PciRoot::Ports : public Device {
 public:
  explicit Ports(PciRoot& root) : root_(root) {}

  void read(uint64_t offset, std::span<std::byte> data) override {
    const uint32_t address = selected();
    if (offset == 0 && data.size() == sizeof address) {
      std::memcpy(data.data(), &address, sizeof address);
    } else if (names_register(address, offset, data.size())) {
      root_.read(address >> 8 & 0xff, (address & 0xfc) + (offset & 3), data);
    } else {
      std::fill(data.begin(), data.end(), std::byte{0xff});
    }
  }
  void write(uint64_t offset, std::span<const std::byte> data) override {
    if (offset == 0 && data.size() == sizeof address_) {
      const std::lock_guard lock(mutex_);
      std::memcpy(&address_, data.data(), sizeof address_);
    } else if (const uint32_t address = selected(); names_register(address, offset, data.size())) {
      root_.write(address >> 8 & 0xff, (address & 0xfc) + (offset & 3), data);
    }
  }

 private:
  uint32_t selected() {
    const std::lock_guard lock(mutex_);
    return address_;
  }
  static bool names_register(uint32_t address, uint64_t offset, size_t length) {
    const bool enabled = (address >> 31) != 0;
    const bool bus_zero = (address >> 16 & 0xff) == 0;
    return enabled && bus_zero && offset >= 4 && (offset & 3) + length <= 4;
  }

  PciRoot& root_;
  std::mutex mutex_;
  uint32_t address_ = 0;
};

PciRoot::PciRoot(Bus& memory_bus, uint32_t window_start, uint32_t window_size)
    : memory_bus_(memory_bus),
      next_bar_(window_start),
      window_end_(uint64_t{window_start} + window_size),
      ecam_(std::make_unique<Ecam>(*this)),
      ports_(std::make_unique<Ports>(*this)) {
  devices_[next_slot_++] = std::make_unique<PciDevice>(kHostBridge, 0);
}

PciRoot::~PciRoot() = default;

Device& PciRoot::ecam() { return *ecam_; }
Device& PciRoot::ports() { return *ports_; }

size_t PciRoot::plug(std::unique_ptr<PciDevice> device, const std::function<Wire(size_t)>& wire) {
  if (next_slot_ == kSlots) {
    throw Error("too many devices: the PCI bus has room for 31", "use fewer disks, or put their contents together");
  }
  const uint64_t size = device->bar_size();
  const uint64_t address = size == 0 ? 0 : (next_bar_ + size - 1) / size * size;
  if (address + size > window_end_) throw Error("too many devices: the PCI memory window is full");
  next_bar_ = std::max(next_bar_, address + size);

  const size_t slot = next_slot_++;
  Wire pulled = wire(slot);
  device->placed(static_cast<uint16_t>(slot << 3));
  device->plug(memory_bus_, static_cast<uint32_t>(address), std::move(pulled.line), pulled.number);
  devices_[slot] = std::move(device);
  return slot;
}

void PciRoot::read(size_t slot_function, uint64_t offset, std::span<std::byte> data) {
  const size_t slot = slot_function >> 3;
  if (slot < kSlots && (slot_function & 7) == 0 && devices_[slot] != nullptr) {
    devices_[slot]->read_config(offset, data);
  } else {
    std::fill(data.begin(), data.end(), std::byte{0xff});
  }
}

void PciRoot::write(size_t slot_function, uint64_t offset, std::span<const std::byte> data) {
  const size_t slot = slot_function >> 3;
  if (slot < kSlots && (slot_function & 7) == 0 && devices_[slot] != nullptr) {
    devices_[slot]->write_config(offset, data);
  }
}

}  // namespace vmm
