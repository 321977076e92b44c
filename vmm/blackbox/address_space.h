// AddressSpace: a guest's virtual addresses, read as its own CPU would read them.
//
// It walks page tables in guest memory, with large pages. Rights are not looked at, only where a page is. Tables are
// the guest's, so every step is checked and nothing is trusted: what does not lead to RAM is not there.
//
//   x86-64   four levels, or five where LA57 is on: Intel SDM, volume 3A, 4.5
//   arm64    one half, the kernel's (TTBR1_EL1) or user space's, of any size that a CPU may have, with pages of 4, 16
//            or 64 KiB, and memory of up to 48 bits: Arm ARM, D8.3
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>

#include "vmm/blackbox/cpu_state.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

// How a CPU takes an address apart, and what it reads in an entry. A table fills a page.
struct PagingFormat {
  enum class Entries { kX86, kArm64 };
  Entries entries = Entries::kX86;
  unsigned page_bits = 0;     // low bits of an address: the place in a page
  unsigned address_bits = 0;  // low bits that are translated; the bits above are all alike
  bool upper_half = true;     // on arm64: which half, as each has tables of its own

  static PagingFormat x86(unsigned levels);
  // Empty when no CPU has that: it may be a guest that says so.
  static std::optional<PagingFormat> arm64(uint64_t page_size, uint64_t address_bits);

  unsigned index_bits() const { return page_bits - 3; }
  unsigned levels() const { return (address_bits - page_bits + index_bits() - 1) / index_bits(); }
};

class AddressSpace {
 public:
  AddressSpace(const PhysicalMemory& memory, GuestAddress root, const PagingFormat& format)
      : memory_(&memory), root_(root), format_(format) {}
  // The address space of a CPU, on arm64 its upper half; empty when it is not in 64-bit mode with paging.
  static std::optional<AddressSpace> of(const PhysicalMemory& memory, const X86Registers& cpu);
  static std::optional<AddressSpace> of(const PhysicalMemory& memory, const Arm64Registers& cpu);
  static std::optional<AddressSpace> of(const PhysicalMemory& memory, const CpuState& cpu);
  static std::optional<AddressSpace> lower_half_of(const PhysicalMemory& memory, const Arm64Registers& cpu);

  GuestAddress root() const { return root_; }
  const PagingFormat& format() const { return format_; }
  // With page-table isolation a CPU in user space has tables that leave most of the kernel out. Where the full ones are
  // then: in the page before, on arm64 two pages behind (TRAMP_SWAPPER_OFFSET).
  AddressSpace behind_isolation() const;

  std::optional<GuestAddress> translate(uint64_t address) const;
  // False when part of it is not there.
  bool read(uint64_t address, std::span<std::byte> to) const;
  // As much as is there, page by page, from the start.
  size_t read_some(uint64_t address, std::span<std::byte> to) const;

  template <typename T>
  std::optional<T> read(uint64_t address) const {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    if (!read(address, std::as_writable_bytes(std::span(&value, 1)))) return std::nullopt;
    return value;
  }

 private:
  const PhysicalMemory* memory_;
  GuestAddress root_;
  PagingFormat format_;
};

}  // namespace vmm
