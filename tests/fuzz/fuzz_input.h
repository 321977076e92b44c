// FuzzInput: the fuzzer's bytes as a stream of decisions. A target is one function, fuzz(), in a file of its own; the
// entry point that libFuzzer calls is in fuzz_main.cc.
//
// A target must be deterministic, keep nothing from one input to the next, and do a bounded amount of work: it takes at
// most kMaxSteps decisions. Reading past the end yields zeroes, so that every input means something.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>

#include "devices/device.h"

namespace vmm::test {

class FuzzInput {
 public:
  static constexpr size_t kMaxSteps = 256;

  explicit FuzzInput(std::span<const std::byte> bytes) : bytes_(bytes) {}

  // While there is input left, and not for ever.
  bool next_step() { return !bytes_.empty() && steps_++ < kMaxSteps; }

  template <typename T>
  T take() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    const auto from = take_bytes(sizeof value);
    if (!from.empty()) std::memcpy(&value, from.data(), from.size());
    return value;
  }
  // Less than `bound`, which is not zero.
  size_t take_below(size_t bound) { return take<uint16_t>() % bound; }
  bool take_bool() { return (take<uint8_t>() & 1) != 0; }
  // One of the widths that a guest may use.
  size_t take_width() { return size_t{1} << take_below(4); }

  std::span<const std::byte> take_bytes(size_t size) {
    const auto part = bytes_.first(std::min(size, bytes_.size()));
    bytes_ = bytes_.subspan(part.size());
    return part;
  }
  std::string take_rest() {
    const auto part = take_bytes(bytes_.size());
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }

 private:
  std::span<const std::byte> bytes_;
  size_t steps_ = 0;
};

// What the target does with one input.
void fuzz(FuzzInput& input);

// Stops the fuzzer.
inline void require(bool holds) {
  if (!holds) __builtin_trap();
}

// An access of any width and at any offset below `range` that a guest may make to a device or a bus.
template <typename Target>
void access(FuzzInput& input, Target& target, uint64_t base, size_t range) {
  const bool writes = input.take_bool();
  const uint64_t offset = base + input.take_below(range);
  std::array<std::byte, 8> data{};
  const auto accessed = std::span(data).first(input.take_width());
  if (writes) {
    std::ranges::copy(input.take_bytes(accessed.size()), accessed.begin());
    target.write(offset, accessed);
  } else {
    target.read(offset, accessed);
  }
}

}  // namespace vmm::test
