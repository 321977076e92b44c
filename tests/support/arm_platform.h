// The Platform of an ARM machine as the board would fill it in, for tests of the firmware.
#pragma once

#include <cstdint>

#include "firmware/platform.h"
#include "tests/support/test_platform.h"

namespace vmm::test {

inline constexpr uint64_t kArmRam = kGiB;

inline Platform arm_platform(uint64_t ram, unsigned cpus = 1, bool gic_v2 = false) {
  Platform platform;
  platform.cpus = cpus;
  platform.ram = {{{kArmRam}, ram}};
  platform.ecam = {{0x3f000000}, kMiB};
  platform.pci_window = {{0x10000000}, 0x2f000000};
  platform.pci_irqs = {8, 9, 10, 11};
  platform.serial_number = "web-1";
  platform.command_line = "console=ttyAMA0";
  Platform::Arm& arm = platform.arm;
  // As KVM gives them out: sixteen to a cluster.
  for (uint64_t cpu = 0; cpu < cpus; ++cpu) arm.affinities.push_back((cpu & 0xf) | cpu >> 4 << 8);
  arm.gic_v2 = gic_v2;
  arm.distributor = {{0x08000000}, 0x10000};
  arm.cpu_part = gic_v2 ? GuestMemory::Range{{0x08010000}, 0x2000} : GuestMemory::Range{{0x080a0000}, 0x20000 * cpus};
  arm.messages = gic_v2 ? GuestMemory::Range{{0x08020000}, 0x1000} : GuestMemory::Range{{0x08080000}, 0x20000};
  arm.serial = {{{{0x09000000}, 0x1000}, 0}, {{{0x09001000}, 0x1000}, 1}};
  arm.clock = {{{0x09010000}, 0x1000}, 4};
  arm.gpio = {{{0x09030000}, 0x1000}, 5};
  arm.power_button = 3;
  for (size_t i = 0; i < arm.seed.size(); ++i) arm.seed[i] = static_cast<uint8_t>(i);
  return platform;
}

}  // namespace vmm::test
