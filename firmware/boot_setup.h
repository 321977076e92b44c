// What every boot protocol hands to a kernel in one form or another: memory map, command line, initrd, CPU state.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "firmware/boot.h"
#include "firmware/byte_source.h"
#include "firmware/platform.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

// A file for the kernel beside its own: Linux has one, its initrd; a Multiboot kernel any number of modules.
struct BootModule {
  const ByteSource* source;
  std::string_view text;  // as the user gave it: the name, and arguments that only Multiboot has a place for
};

struct BootRequest {
  const GuestMemory& memory;
  const Platform& platform;
  std::span<const BootModule> modules;
  std::string_view kernel_name;  // as the user gave it

  const ByteSource* initrd() const { return modules.empty() ? nullptr : modules.front().source; }
};

// An entry of the e820 map; PVH and Multiboot use the same types (ACPI 6.4 §15, table 15.1).
struct MemoryMapEntry {
  enum Type : uint32_t { kRam = 1, kReserved = 2 };
  uint64_t start;
  uint64_t size;
  Type type;
};

// RAM, the reserved part of the first MiB, and the PCI configuration window; ascending, without overlap.
std::vector<MemoryMapEntry> memory_map(const Platform& platform);

// Where the RAM that starts at 0 ends.
uint64_t low_ram_end(const Platform& platform);

// Throws Error, with the --mem that would do, unless low RAM reaches to `end`.
void require_low_ram(const Platform& platform, uint64_t end, std::string_view what);

// A range of addresses, its end excluded.
struct AddressRange {
  uint64_t start = 0;
  uint64_t end = 0;
};

// Puts the initrd as high as it may be (below `ceiling`), clear of the kernel. Without an initrd: an empty range.
AddressRange load_initrd_high(const BootRequest& request, AddressRange kernel, uint64_t ceiling);
// Puts a module on the first page after `end`, not below 1 MiB.
AddressRange load_module_after(const BootRequest& request, const ByteSource& module, uint64_t end);

// Throws Error when it is longer than `limit` bytes or holds a NUL.
void check_command_line(std::string_view text, uint64_t limit);

// Writes `text` and its NUL. Throws Error when it is longer than `limit` bytes or holds a NUL itself.
void write_command_line(const GuestMemory& memory, std::string_view text, uint64_t limit);

// Writes what the mode needs (GDT; page tables that map the first 4 GiB one to one) and points the CPU at `rip`.
CpuEntry enter_long64(const GuestMemory& memory, uint64_t rip);
CpuEntry enter_protected32(const GuestMemory& memory, uint64_t rip);

inline uint64_t align_up(uint64_t value, uint64_t power_of_two) {
  return (value + power_of_two - 1) & ~(power_of_two - 1);
}
inline uint64_t align_down(uint64_t value, uint64_t power_of_two) { return value & ~(power_of_two - 1); }

}  // namespace vmm
