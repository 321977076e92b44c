// The guest-physical map of the x86-64 machine.
//
//   0x0000'0000'0000  RAM; the first MiB and what boots in it: firmware/layout_x86_64.h
//   0x0000'c000'0000  PCI memory window (BARs), 512 MiB
//   0x0000'e000'0000  PCI configuration space (ECAM), 1 MiB: bus 0
//   0x0000'fec0'0000  IO-APIC          (in KVM)
//   0x0000'fee0'0000  local APICs      (in KVM)
//   0x0000'fffb'c000  four pages that KVM needs on Intel (vmm/kvm/x86_64/irqchip.cc)
//   0x0001'0000'0000  RAM beyond the first 3 GiB
//
// Ports: 0x60 and 0x64 i8042, 0x70 RTC, 0x92 system control, 0x3f8.. serial, 0x510 fw_cfg, 0x600 ACPI, 0xcf8 PCI, 0xcf9
// reset. The PIC, the PIT and port 0x61 are in KVM.
#pragma once

#include <array>
#include <cstdint>

namespace vmm::layout {

constexpr uint64_t kLowMemoryEnd = 0xc0000000;
constexpr uint64_t kHighMemoryStart = 0x100000000;
constexpr uint32_t kPciWindowStart = 0xc0000000;
constexpr uint32_t kPciWindowSize = 0x20000000;
constexpr uint64_t kEcamStart = 0xe0000000;
constexpr uint64_t kIoApicStart = 0xfec00000;
constexpr uint64_t kLocalApicStart = 0xfee00000;

constexpr uint16_t kKeyboardPort = 0x60;
constexpr uint16_t kRtcPort = 0x70;
constexpr uint16_t kSystemControlPort = 0x92;
constexpr uint16_t kFwCfgPort = 0x510;
constexpr uint16_t kAcpiPort = 0x600;
constexpr uint16_t kPciPort = 0xcf8;
constexpr uint16_t kResetPort = 0xcf9;
constexpr uint8_t kAcpiIrq = 9;
constexpr uint8_t kRtcIrq = 8;
// The four wires of PCI slots. Below 16, so that they reach guests that use the PIC as well.
constexpr std::array<uint8_t, 4> kPciIrqs{5, 6, 10, 11};

struct SerialPort {
  uint16_t port;
  uint8_t irq;
};
constexpr std::array<SerialPort, 4> kSerialPorts{{{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}}};

}  // namespace vmm::layout
