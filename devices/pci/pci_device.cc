// Configuration space and BAR mapping; see pci_device.h.
#include "devices/pci/pci_device.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "vmm/core/check.h"

namespace vmm {

namespace {

template <typename T>
void put(std::span<std::byte> bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

template <typename T>
T get(std::span<const std::byte> bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

constexpr uint16_t kWritableCommand = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE;

}  // namespace

PciDevice::PciDevice(const PciIdentity& identity, uint32_t bar_size) : bar_size_(bar_size) {
  CHECK(bar_size == 0 || (std::has_single_bit(bar_size) && bar_size >= 4096));
  put<uint16_t>(config_, PCI_VENDOR_ID, identity.vendor);
  put<uint16_t>(config_, PCI_DEVICE_ID, identity.device);
  put<uint32_t>(config_, PCI_CLASS_REVISION, identity.class_code << 8 | identity.revision);
  put<uint16_t>(config_, PCI_SUBSYSTEM_VENDOR_ID, identity.subsystem_vendor);
  put<uint16_t>(config_, PCI_SUBSYSTEM_ID, identity.subsystem);
  put<uint16_t>(writable_, PCI_COMMAND, kWritableCommand);
  put<uint8_t>(writable_, PCI_CACHE_LINE_SIZE, 0xff);
  put<uint8_t>(writable_, PCI_INTERRUPT_LINE, 0xff);
  // Sizing a BAR writes ones and reads back the bits that stick.
  if (bar_size > 0) put<uint32_t>(writable_, PCI_BASE_ADDRESS_0, ~(bar_size - 1));
}

PciDevice::~PciDevice() {
  if (bar_mapped_) memory_bus_->remove(*bar_mapped_);
}

uint8_t PciDevice::add_capability(uint8_t id, std::span<const std::byte> body, std::span<const std::byte> writable) {
  const size_t offset = next_capability_;
  CHECK(offset + 2 + body.size() <= kConfigSize && writable.size() <= body.size());
  config_[last_capability_link_] = static_cast<std::byte>(offset);
  last_capability_link_ = offset + PCI_CAP_LIST_NEXT;
  config_[offset + PCI_CAP_LIST_ID] = std::byte{id};
  std::ranges::copy(body, config_.begin() + static_cast<std::ptrdiff_t>(offset + 2));
  std::ranges::copy(writable, writable_.begin() + static_cast<std::ptrdiff_t>(offset + 2));
  next_capability_ = (offset + 2 + body.size() + 3) & ~size_t{3};
  put<uint16_t>(config_, PCI_STATUS, PCI_STATUS_CAP_LIST);
  return static_cast<uint8_t>(offset);
}

void PciDevice::plug(Bus& memory_bus, uint32_t bar_address, std::unique_ptr<IrqLine> intx, uint8_t interrupt_line) {
  memory_bus_ = &memory_bus;
  if (intx) {
    intx_ = std::move(intx);
    put<uint8_t>(config_, PCI_INTERRUPT_PIN, 1);
    put<uint8_t>(config_, PCI_INTERRUPT_LINE, interrupt_line);
  }
  if (bar_size_ == 0) return;
  // What firmware would have done: kernels without a PCI allocator use the BAR as they find it.
  put<uint32_t>(config_, PCI_BASE_ADDRESS_0, bar_address);
  put<uint16_t>(config_, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  remap_bar();
}

void PciDevice::read_config(uint64_t offset, std::span<std::byte> data) {
  if (config_read_hook(offset, data)) return;
  const std::lock_guard lock(config_mutex_);
  std::fill(data.begin(), data.end(), std::byte{0});
  if (offset >= kConfigSize) return;
  const size_t length = std::min<size_t>(data.size(), kConfigSize - offset);
  std::copy_n(config_.begin() + static_cast<std::ptrdiff_t>(offset), length, data.begin());
}

void PciDevice::write_config(uint64_t offset, std::span<const std::byte> data) {
  if (offset >= kConfigSize) return;
  const size_t length = std::min<size_t>(data.size(), kConfigSize - offset);
  {
    const std::lock_guard lock(config_mutex_);
    for (size_t i = 0; i < length; ++i) {
      const std::byte mask = writable_[offset + i];
      config_[offset + i] = (config_[offset + i] & ~mask) | (data[i] & mask);
    }
    update_intx();
  }
  if (offset < PCI_BASE_ADDRESS_0 + 4) remap_bar();  // command or BAR
  config_written(offset, length);
}

// While the guest sizes the BAR it holds nonsense for a moment; such a place may be refused by the bus, and is then
// simply not decoded, as on a real bus where nobody would answer sensibly.
void PciDevice::remap_bar() {
  if (bar_size_ == 0 || memory_bus_ == nullptr) return;
  const std::lock_guard lock(bar_mutex_);
  std::optional<uint64_t> wanted;
  if ((config_dword(PCI_COMMAND) & PCI_COMMAND_MEMORY) != 0) wanted = config_dword(PCI_BASE_ADDRESS_0);
  if (wanted == bar_mapped_) return;
  if (bar_mapped_) {
    memory_bus_->remove(*bar_mapped_);
    bar_mapped_.reset();
  }
  if (wanted && memory_bus_->add(*wanted, bar_size_, *this)) bar_mapped_ = wanted;
  bar_moved(bar_mapped_);
}

uint16_t PciDevice::command() const { return get<uint16_t>(config_, PCI_COMMAND); }

void PciDevice::set_intx(bool level) {
  const std::lock_guard lock(config_mutex_);
  if (intx_level_ == level) return;
  intx_level_ = level;
  put<uint16_t>(config_, PCI_STATUS,
                static_cast<uint16_t>((get<uint16_t>(config_, PCI_STATUS) & ~PCI_STATUS_INTERRUPT) |
                                      (level ? PCI_STATUS_INTERRUPT : 0)));
  update_intx();
}

void PciDevice::update_intx() {
  if (intx_) intx_->set(intx_level_ && (command() & PCI_COMMAND_INTX_DISABLE) == 0);
}

uint8_t PciDevice::config_byte(size_t offset) {
  const std::lock_guard lock(config_mutex_);
  return std::to_integer<uint8_t>(config_[offset]);
}

uint32_t PciDevice::config_dword(size_t offset) {
  const std::lock_guard lock(config_mutex_);
  return get<uint32_t>(config_, offset);
}

}  // namespace vmm
