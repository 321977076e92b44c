// Pl061: ARM's PrimeCell GPIO: eight lines, here all inputs, of which one is the power button. PrimeCell GPIO (PL061)
// Technical Reference Manual, r1p0 (ARM DDI 0190B).
//
// What the guest drives as an output goes nowhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>

#include "devices/device.h"
#include "devices/irq.h"
#include "vmm/core/event_loop.h"

namespace vmm {

class Pl061 : public Device {
 public:
  static constexpr uint64_t kSize = 0x1000;
  // Linux looks at a button's line some milliseconds after its edge, and takes one that is gone by then for noise: on a
  // busy host, a vCPU may come to it late.
  static constexpr std::chrono::milliseconds kPress{500};

  // Built and destroyed on the loop's thread.
  Pl061(EventLoop& loop, IrqLine& irq);

  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;

  // An input changes its level. Any thread.
  void set_input(unsigned line, bool level);
  // A button makes an input high for kPress. Loop thread only.
  void press(unsigned line);

 private:
  struct Registers;
  uint8_t lines() const { return static_cast<uint8_t>((inputs_ & ~direction_) | (outputs_ & direction_)); }
  void look_at_edges(uint8_t before);
  void update_irq();
  uint8_t levels() const;

  IrqLine& irq_;
  std::mutex mutex_;
  uint8_t inputs_ = 0;
  uint8_t outputs_ = 0;     // GPIODATA of output lines
  uint8_t direction_ = 0;   // GPIODIR: a one is an output
  uint8_t sense_ = 0;       // GPIOIS: a one is a level, a zero an edge
  uint8_t both_edges_ = 0;  // GPIOIBE
  uint8_t event_ = 0;       // GPIOIEV: a one is high, or rising
  uint8_t mask_ = 0;        // GPIOIE: a one lets an interrupt through
  uint8_t edges_ = 0;       // bits of GPIORIS: edges that were seen
  unsigned pressed_ = 0;    // the line of the button that was pressed last
  Timer release_;
};

}  // namespace vmm
