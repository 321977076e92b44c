// A Platform as the machine would fill it in, for tests of the firmware.
#pragma once

#include <algorithm>
#include <cstdint>

#include "firmware/platform.h"
#include "vmm/core/guest_memory.h"

namespace vmm::test {

inline constexpr uint64_t kMiB = 1 << 20;
inline constexpr uint64_t kGiB = 1 << 30;

// `ram` bytes, of which up to 3 GiB lie below the PCI window.
inline Platform platform_with(uint64_t ram, unsigned cpus = 1) {
  const uint64_t low = std::min(ram, 3 * kGiB);
  Platform platform;
  platform.cpus = cpus;
  platform.ram = {{{0}, low}};
  if (ram > low) platform.ram.push_back({{4 * kGiB}, ram - low});
  platform.pci_window = {{0xc0000000}, 0x20000000};
  platform.ecam = {{0xe0000000}, kMiB};
  platform.pci_irqs = {5, 6, 10, 11};
  platform.serial = {{0x3f8, 4}, {0x2f8, 3}};
  platform.vm_generation_id = {0xff000};
  platform.command_line = "console=ttyS0";
  return platform;
}

}  // namespace vmm::test
