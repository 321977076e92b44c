// AddressSpace: a guest's virtual addresses, read as its own CPU would read them.
//
// It walks page tables in guest memory: four levels, or five where LA57 is on, with large pages. Rights are not looked
// at, only where a page is. Tables are the guest's, so every step is checked and nothing is trusted: what does not lead
// to RAM is not there. See the Intel SDM, volume 3A, 4.5.
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

class AddressSpace {
 public:
  AddressSpace(const PhysicalMemory& memory, GuestAddress root, unsigned levels)
      : memory_(&memory), root_(root), levels_(levels) {}
  // That of a CPU; empty when it is not in 64-bit mode with paging.
  static std::optional<AddressSpace> of(const PhysicalMemory& memory, const CpuState& cpu);

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
  unsigned levels_;
};

}  // namespace vmm
