// PCI configuration space by ports 0xcf8 and 0xcfc, bus 0.
#pragma once

#include "runtime.h"

enum { PCI_VENDOR_ID = 0, PCI_COMMAND = 4, PCI_STATUS = 6, PCI_BASE_ADDRESS_0 = 0x10, PCI_CAPABILITY_LIST = 0x34 };
enum { PCI_COMMAND_MEMORY = 2, PCI_COMMAND_MASTER = 4, PCI_COMMAND_INTX_DISABLE = 0x400 };

static inline void pci_select(unsigned slot, unsigned offset) { out32(0xcf8, 1u << 31 | slot << 11 | (offset & 0xfc)); }
static inline uint32_t pci_read32(unsigned slot, unsigned offset) {
  pci_select(slot, offset);
  return in32(0xcfc);
}
static inline uint16_t pci_read16(unsigned slot, unsigned offset) {
  pci_select(slot, offset);
  return in16((uint16_t)(0xcfc + (offset & 2)));
}
static inline uint8_t pci_read8(unsigned slot, unsigned offset) {
  pci_select(slot, offset);
  return in8((uint16_t)(0xcfc + (offset & 3)));
}
static inline void pci_write32(unsigned slot, unsigned offset, uint32_t value) {
  pci_select(slot, offset);
  out32(0xcfc, value);
}
static inline void pci_write16(unsigned slot, unsigned offset, uint16_t value) {
  pci_select(slot, offset);
  out16((uint16_t)(0xcfc + (offset & 2)), value);
}
static inline void pci_write8(unsigned slot, unsigned offset, uint8_t value) {
  pci_select(slot, offset);
  out8((uint16_t)(0xcfc + (offset & 3)), value);
}
