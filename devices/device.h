// Device: something that answers register accesses on a Bus.
//
// read() and write() are called on vCPU threads, with the offset from the start of the device's range. They must not
// block on the host, and guard their registers with a mutex of their own. Whatever width and offset the guest chose
// arrives here: an access that means nothing reads as ones or zeroes and is otherwise ignored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vmm {

class Device {
 public:
  virtual ~Device() = default;
  virtual void read(uint64_t offset, std::span<std::byte> data) = 0;
  virtual void write(uint64_t offset, std::span<const std::byte> data) = 0;
};

}  // namespace vmm
