// RegisterMap: a device's registers as a table of offset, width, and what reading and writing does.
//
// Drivers use natural accesses; guests are not bound to. A read may cover part of a register or several of them, gaps
// read as zero. A write must cover a register wholly to reach it; what it covers in part is ignored.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace vmm {

template <typename Owner>
struct Register {
  uint64_t offset;
  size_t width;  // bytes, up to 8
  uint64_t (*read)(Owner&);
  void (*write)(Owner&, uint64_t) = nullptr;  // null: read-only
};

template <typename Owner>
void read_registers(std::span<const Register<Owner>> map, Owner& owner, uint64_t offset, std::span<std::byte> data) {
  std::fill(data.begin(), data.end(), std::byte{0});
  for (const Register<Owner>& reg : map) {
    const uint64_t from = std::max(offset, reg.offset);
    const uint64_t to = std::min(offset + data.size(), reg.offset + reg.width);
    if (from >= to) continue;
    const uint64_t value = reg.read(owner);
    std::memcpy(data.data() + (from - offset), reinterpret_cast<const std::byte*>(&value) + (from - reg.offset),
                to - from);
  }
}

template <typename Owner>
void write_registers(std::span<const Register<Owner>> map, Owner& owner, uint64_t offset,
                     std::span<const std::byte> data) {
  for (const Register<Owner>& reg : map) {
    if (reg.write == nullptr || reg.offset < offset || reg.offset + reg.width > offset + data.size()) continue;
    uint64_t value = 0;
    std::memcpy(&value, data.data() + (reg.offset - offset), reg.width);
    reg.write(owner, value);
  }
}

}  // namespace vmm
