// Platform: what the guest must be told about the machine, as data.
//
// The machine fills it in once; the firmware turns it into the forms that guests read (ACPI and SMBIOS tables, memory
// maps, command line). It is the whole interface between the two: nothing here knows KVM or a device.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "vmm/core/guest_memory.h"

namespace vmm {

struct Platform {
  struct SerialPort {
    uint16_t port;
    uint8_t irq;
  };

  unsigned cpus = 1;                    // APIC ids 0..cpus-1
  std::vector<GuestMemory::Range> ram;  // ascending; low RAM starts at 0, high RAM at 4 GiB

  GuestMemory::Range ecam;            // PCI configuration space of segment 0, buses 0..(size >> 20) - 1
  GuestMemory::Range pci_window;      // for 32-bit BARs
  std::array<uint8_t, 4> pci_irqs{};  // GSI of a pin = pci_irqs[(slot + pin) % 4]; all < 16, level, active low
  std::vector<SerialPort> serial;     // COM1.., 16550A

  uint16_t pm_base = 0x600;  // PM1a event block (4 bytes), +4 PM1a control block (2), +8 PM timer (4, 24 bits count)
  uint8_t sci_irq = 9;
  uint16_t reset_port = 0xcf9;
  uint8_t reset_value = 6;
  uint8_t sleep_type_s5 = 5;
  GuestAddress vm_generation_id;  // 16 bytes in reserved memory; zero: there is none

  // The aarch64 machine's part; it has none of the PC's above from pci_irqs on. Interrupts are numbers of SPIs, from 0.
  struct Arm {
    struct Chip {
      GuestMemory::Range place;
      uint32_t irq = 0;
    };
    std::vector<uint64_t> affinities;  // of the CPUs
    bool gic_v2 = false;               // else a GICv3
    GuestMemory::Range distributor;
    GuestMemory::Range cpu_part;     // the redistributors of a GICv3, the CPU interfaces of a GICv2
    GuestMemory::Range messages;     // its ITS, or its MSI frame
    std::vector<Chip> serial;        // PL011
    Chip clock;                      // PL031
    Chip gpio;                       // PL061
    unsigned power_button = 0;       // its line there
    std::array<uint8_t, 64> seed{};  // for the kernel's random numbers and KASLR; fresh at each boot
  };
  Arm arm;

  std::string product = "vmm";
  std::string serial_number;
  std::array<uint8_t, 16> uuid{};  // in the order in which it is written as text (RFC 4122)
  std::string command_line;
};

}  // namespace vmm
