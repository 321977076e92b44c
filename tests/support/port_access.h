// Accesses to a device's registers as values, of any width.
#pragma once

#include <span>

#include "devices/device.h"

namespace vmm::test {

template <typename T = uint8_t>
T read_port(Device& device, uint64_t offset) {
  T value{};
  device.read(offset, std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

template <typename T = uint8_t>
void write_port(Device& device, uint64_t offset, T value) {
  device.write(offset, std::as_bytes(std::span(&value, 1)));
}

}  // namespace vmm::test
