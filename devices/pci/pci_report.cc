// What a function's configuration space says, as lines for a person; see pci_device.h.
#include <fmt/core.h>
#include <linux/pci_regs.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "devices/pci/pci_device.h"

namespace vmm {

namespace {

// Base classes (PCI Code and ID Assignment Specification 1.11 §1).
constexpr std::array<std::pair<uint8_t, std::string_view>, 6> kClasses{{
    {0x01, "mass storage"},
    {0x02, "network"},
    {0x06, "bridge"},
    {0x07, "communication"},
    {0x10, "encryption"},
    {0xff, "of no class"},
}};

constexpr std::array<std::pair<uint16_t, std::string_view>, 3> kCommandBits{{
    {PCI_COMMAND_MEMORY, "memory"},
    {PCI_COMMAND_MASTER, "bus master"},
    {PCI_COMMAND_INTX_DISABLE, "INTx off"},
}};

std::string_view class_text(uint8_t base_class) {
  const auto* const found = std::ranges::find(kClasses, base_class, &decltype(kClasses)::value_type::first);
  return found == kClasses.end() ? "other" : found->second;
}

std::string command_text(uint16_t command) {
  std::string text = fmt::format("{:#06x}", command);
  for (const auto& [bit, meaning] : kCommandBits) {
    if ((command & bit) != 0) text += fmt::format(", {}", meaning);
  }
  return text;
}

std::string capability_text(uint8_t id, uint16_t message_control) {
  if (id == PCI_CAP_ID_VNDR) return "vendor-specific";
  if (id != PCI_CAP_ID_MSIX) return fmt::format("{:#04x}", id);
  const bool enabled = (message_control & PCI_MSIX_FLAGS_ENABLE) != 0;
  const bool masked = (message_control & PCI_MSIX_FLAGS_MASKALL) != 0;
  return fmt::format("MSI-X, {} vectors, {}{}", (message_control & PCI_MSIX_FLAGS_QSIZE) + 1,
                     enabled ? "enabled" : "not enabled", masked ? ", masked" : "");
}

}  // namespace

std::string PciDevice::describe_configuration() {
  const auto byte = [this](size_t offset) { return config_byte(offset); };
  const auto word = [&byte](size_t offset) { return static_cast<uint16_t>(byte(offset) | byte(offset + 1) << 8); };
  const uint32_t class_code = config_dword(PCI_CLASS_REVISION) >> 8;
  std::string text =
      fmt::format("  {:04x}:{:04x}, revision {:02x}, subsystem {:04x}:{:04x}, class {:06x}, {}\n", word(PCI_VENDOR_ID),
                  word(PCI_DEVICE_ID), byte(PCI_REVISION_ID), word(PCI_SUBSYSTEM_VENDOR_ID), word(PCI_SUBSYSTEM_ID),
                  class_code, class_text(static_cast<uint8_t>(class_code >> 16)));
  text += fmt::format("  command {}\n", command_text(word(PCI_COMMAND)));
  if (bar_size_ > 0) {
    const uint32_t start = config_dword(PCI_BASE_ADDRESS_0);
    const std::lock_guard lock(bar_mutex_);
    text += fmt::format("  BAR 0: 32-bit memory at {:#010x}, size {:#x}{}\n", start, bar_size_,
                        bar_mapped_ == start ? "" : ", not decoded");
  }
  if (byte(PCI_INTERRUPT_PIN) != 0) text += fmt::format("  INTA: line {}\n", byte(PCI_INTERRUPT_LINE));
  for (size_t at = byte(PCI_CAPABILITY_LIST); at != 0; at = byte(at + PCI_CAP_LIST_NEXT)) {
    text += fmt::format("  capability at {:#04x}: {}\n", at,
                        capability_text(byte(at + PCI_CAP_LIST_ID), word(at + PCI_MSIX_FLAGS)));
  }
  return text;
}

}  // namespace vmm
