// Bytes: what the firmware makes before it is in the guest, and how it gets there.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "vmm/core/error.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

using Bytes = std::vector<uint8_t>;

template <typename T>
std::span<const uint8_t> bytes_of(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return {reinterpret_cast<const uint8_t*>(&value), sizeof value};
}

template <typename T>
void append(Bytes& to, const T& value) {
  const auto bytes = bytes_of(value);
  to.insert(to.end(), bytes.begin(), bytes.end());
}

// The byte that makes the sum of all bytes zero, as RSDP, ACPI tables and SMBIOS entry points want it.
inline uint8_t checksum(std::span<const uint8_t> bytes) {
  unsigned sum = 0;
  for (const uint8_t byte : bytes) sum += byte;
  return static_cast<uint8_t>(0x100 - (sum & 0xff));
}

// Copies bytes into the guest. Too little memory is the user's choice, hence an Error.
inline void put_bytes(const GuestMemory& memory, GuestAddress address, std::span<const uint8_t> bytes) {
  if (memory.write(address, std::as_bytes(bytes))) return;
  throw Error(fmt::format("the machine has no memory at {:#x}, where its firmware belongs", address.value),
              "give it more with --mem");
}

template <typename T>
void put(const GuestMemory& memory, GuestAddress address, const T& value) {
  put_bytes(memory, address, bytes_of(value));
}

}  // namespace vmm
