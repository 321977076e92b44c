// The guest-physical map of the aarch64 machine, which is QEMU's "virt" in spirit.
//
//   0x0000'0800'0000  GIC: distributor, 64 KiB
//   0x0000'0801'0000  GICv2: CPU interfaces, 8 KiB        (one of
//   0x0000'0802'0000  GICv2: MSI frame (v2m), 4 KiB        the two)
//   0x0000'0808'0000  GICv3: ITS, 128 KiB
//   0x0000'080a'0000  GICv3: redistributors, 128 KiB for each of up to 123 vCPUs
//   0x0000'0900'0000  four PL011, 4 KiB each
//   0x0000'0901'0000  PL031, the clock, 4 KiB
//   0x0000'0903'0000  PL061, GPIO lines, of which one is the power button, 4 KiB
//   0x0000'1000'0000  PCI memory window (BARs), 752 MiB
//   0x0000'3f00'0000  PCI configuration space (ECAM), 1 MiB: bus 0
//   0x0000'4000'0000  RAM, all of it at a stretch: kernel, device tree and initrd from its start
//   (firmware/arm64_image.cc)
//
// Inputs of the GIC are SPIs from INTID 32 on.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace vmm::layout {

constexpr uint64_t kDistributor = 0x08000000;
constexpr uint64_t kCpuInterface = 0x08010000;
constexpr uint64_t kMessageFrame = 0x08020000;
constexpr uint64_t kIts = 0x08080000;
constexpr uint64_t kRedistributors = 0x080a0000;
constexpr uint64_t kChipSize = 0x1000;
constexpr uint64_t kSerial = 0x09000000;  // and at each kChipSize behind
constexpr size_t kSerialLines = 4;
constexpr uint64_t kClock = 0x09010000;
constexpr uint64_t kGpio = 0x09030000;
constexpr uint32_t kPciWindowStart = 0x10000000;
constexpr uint32_t kPciWindowSize = 0x2f000000;
constexpr uint64_t kEcamStart = 0x3f000000;
constexpr uint64_t kRamStart = 0x40000000;

constexpr uint8_t kSerialIrq = 0;  // to 3
constexpr uint8_t kClockIrq = 4;
constexpr uint8_t kGpioIrq = 5;
constexpr std::array<uint8_t, 4> kPciIrqs{8, 9, 10, 11};
// Interrupts of a GICv2's message frame.
constexpr uint32_t kFirstMessageIrq = 32;
constexpr uint32_t kMessageIrqs = 64;

constexpr unsigned kMaxCpus = 123;  // redistributors up to the first chip

}  // namespace vmm::layout
