// What a kernel file says about itself, and the state in which the first vCPU enters it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "vmm/core/guest_memory.h"

namespace vmm {

enum class KernelKind { kBzImage, kPvh, kMultiboot, kArm64Image };

// "bzImage", "PVH kernel", "Multiboot kernel", "arm64 Image".
std::string_view kernel_kind_name(KernelKind kind);

struct KernelInfo {
  KernelKind kind = KernelKind::kBzImage;
  std::string summary;  // "6.1.0-56-cloud-amd64 (boot protocol 2.15, lz4, 64-bit)"

  std::string version;      // bzImage and Image only
  std::string compression;  // "lz4", "xz", ...; empty when it is not known; the same
  uint16_t protocol = 0;    // 0x020f is 2.15; bzImage only, like the next three
  bool relocatable = false;
  uint64_t pref_address = 0;
  uint64_t init_size = 0;  // memory that it takes from pref_address on

  bool entry64 = false;               // entered in 64-bit mode
  uint64_t entry = 0;                 // guest-physical
  uint32_t command_line_limit = 0;    // bytes, the NUL not counted
  std::vector<std::string> warnings;  // what it asks for and does not get
};

// On x86.
struct CpuEntry {
  enum class Mode { kLong64, kProtected32 };

  Mode mode = Mode::kLong64;
  uint64_t rip = 0, rax = 0, rbx = 0, rsi = 0, rsp = 0;
  GuestAddress page_tables;  // for CR3; kLong64 only
  // In guest memory: flat code at selector 0x10, flat data at 0x18 (the Linux boot protocol's __BOOT_CS and
  // __BOOT_DS), and a busy TSS at 0x20.
  GuestAddress gdt;
  uint16_t gdt_limit = 0;
};

// On aarch64: EL1 with MMU, caches and interrupts off (Documentation/arch/arm64/booting.rst, "Call the kernel image").
struct Aarch64Entry {
  uint64_t pc = 0;
  uint64_t x0 = 0;  // the device tree; x1 to x3 are zero
};

using KernelEntry = std::variant<CpuEntry, Aarch64Entry>;

}  // namespace vmm
