// Registers and edges of the PL061; see pl061.h. Section numbers are those of its manual.
#include "devices/arm/pl061.h"

#include <array>
#include <cstring>

#include "devices/register_map.h"

namespace vmm {

struct Pl061::Registers {
  template <uint8_t Pl061::*kField>
  static uint64_t get(Pl061& gpio) {
    return gpio.*kField;
  }
  template <uint8_t Pl061::*kField>
  static void set(Pl061& gpio, uint64_t value) {
    gpio.*kField = static_cast<uint8_t>(value);
  }
  static uint64_t raw(Pl061& gpio) { return gpio.levels(); }
  static uint64_t masked(Pl061& gpio) { return gpio.levels() & gpio.mask_; }
  static uint64_t nothing(Pl061&) { return 0; }
  static void clear(Pl061& gpio, uint64_t value) { gpio.edges_ &= static_cast<uint8_t>(~value); }
  template <uint8_t kByte>
  static uint64_t identity(Pl061&) {
    return kByte;
  }

  // Eight bits each, and written as bytes by Linux.
  static constexpr std::array<Register<Pl061>, 17> kMap = {{
      {0x400, 1, get<&Pl061::direction_>, set<&Pl061::direction_>},
      {0x404, 1, get<&Pl061::sense_>, set<&Pl061::sense_>},
      {0x408, 1, get<&Pl061::both_edges_>, set<&Pl061::both_edges_>},
      {0x40c, 1, get<&Pl061::event_>, set<&Pl061::event_>},
      {0x410, 1, get<&Pl061::mask_>, set<&Pl061::mask_>},
      {0x414, 1, raw},
      {0x418, 1, masked},
      {0x41c, 1, nothing, clear},  // GPIOIC
      {0x420, 1, nothing},         // GPIOAFSEL: no line has a second function
      {0xfe0, 1, identity<0x61>},  // GPIOPeriphID0 to 3
      {0xfe4, 1, identity<0x10>},
      {0xfe8, 1, identity<0x04>},
      {0xfec, 1, identity<0x00>},
      {0xff0, 1, identity<0x0d>},  // GPIOPCellID0 to 3
      {0xff4, 1, identity<0xf0>},
      {0xff8, 1, identity<0x05>},
      {0xffc, 1, identity<0xb1>},
  }};
};

namespace {

// Bits 9:2 of the address say which lines an access is for (§3.3.1).
constexpr uint64_t kDataEnd = 0x400;
uint8_t chosen(uint64_t offset) { return static_cast<uint8_t>(offset >> 2); }

}  // namespace

Pl061::Pl061(EventLoop& loop, IrqLine& irq) : irq_(irq), release_(loop, [this] { set_input(pressed_, false); }) {}

void Pl061::read(uint64_t offset, std::span<std::byte> data) {
  const std::lock_guard lock(mutex_);
  if (offset >= kDataEnd) return read_registers<Pl061>(Registers::kMap, *this, offset, data);
  std::fill(data.begin(), data.end(), std::byte{0});
  if ((offset & 3) == 0 && !data.empty()) data[0] = static_cast<std::byte>(lines() & chosen(offset));
}

void Pl061::write(uint64_t offset, std::span<const std::byte> data) {
  const std::lock_guard lock(mutex_);
  const uint8_t before = lines();
  if (offset >= kDataEnd) {
    write_registers<Pl061>(Registers::kMap, *this, offset, data);
  } else if ((offset & 3) == 0 && !data.empty()) {
    const uint8_t mask = chosen(offset);
    outputs_ = static_cast<uint8_t>((outputs_ & ~mask) | (std::to_integer<uint8_t>(data[0]) & mask));
  }
  look_at_edges(before);
  update_irq();
}

void Pl061::set_input(unsigned line, bool level) {
  const std::lock_guard lock(mutex_);
  const uint8_t before = lines();
  const auto bit = static_cast<uint8_t>(1u << (line & 7));
  inputs_ = static_cast<uint8_t>(level ? inputs_ | bit : inputs_ & ~bit);
  look_at_edges(before);
  update_irq();
}

void Pl061::press(unsigned line) {
  if (release_.running()) set_input(pressed_, false);
  pressed_ = line;
  set_input(line, true);
  release_.start(kPress);
}

void Pl061::look_at_edges(uint8_t before) {
  const auto changed = static_cast<uint8_t>(before ^ lines());
  const auto wanted = static_cast<uint8_t>(both_edges_ | ~(lines() ^ event_));
  edges_ |= static_cast<uint8_t>(changed & wanted & ~sense_);
}

// GPIORIS: edges that were seen, and levels that are so now.
uint8_t Pl061::levels() const {
  const auto level = static_cast<uint8_t>(~(lines() ^ event_) & sense_);
  return static_cast<uint8_t>((edges_ & ~sense_) | level);
}

// Called with the mutex held, so that levels reach the wire in order.
void Pl061::update_irq() { irq_.set((levels() & mask_) != 0); }

}  // namespace vmm
