// RtcCmos: the PC's clock and its 128 bytes of memory, an MC146818 behind an index port (0x70) and a data port (0x71).
//
// The time is the host's, in UTC, plus an offset that the guest makes when it sets the clock. Nothing ticks here: time
// registers are worked out when they are read, and flags from how far time has moved since they were last looked at.
// Only while the guest wants interrupts does a timer of the loop look: once per second for the update-ended and the
// alarm interrupt, and once per period for the periodic one, which waits until the guest has read the flag of the one
// before. Motorola MC146818 data sheet; the century at 0x32 and bit 7 of the index port are the PC's.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "devices/device.h"
#include "devices/irq.h"
#include "vmm/core/event_loop.h"

namespace vmm {

class RtcCmos : public Device {
 public:
  static constexpr uint64_t kPorts = 2;
  // What its battery keeps while the machine is off or reset.
  struct Battery {
    std::array<uint8_t, 128> cmos = {};
    std::chrono::seconds offset{0};  // guest's time minus host's
  };
  using Time = std::chrono::time_point<std::chrono::system_clock, std::chrono::nanoseconds>;
  using Clock = std::function<Time()>;

  // Built and destroyed on the loop's thread.
  RtcCmos(
      EventLoop& loop, IrqLine& irq, Battery& battery,
      Clock clock = [] { return Time(std::chrono::system_clock::now()); });
  RtcCmos(const RtcCmos&) = delete;
  RtcCmos& operator=(const RtcCmos&) = delete;

  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;

 private:
  uint8_t read_register(uint8_t index);
  void write_register(uint8_t index, uint8_t value);
  std::chrono::seconds guest_seconds() const;
  bool set_mode() const;
  void show_time();
  void adopt_time();
  bool alarm_between(int64_t after, int64_t last) const;
  void advance();
  void update_irq();
  std::chrono::nanoseconds period() const;
  bool wants_seconds() const;
  bool wants_period() const;
  void schedule_look();
  void look();
  uint8_t encode(int value) const;
  int decode(uint8_t value) const;
  uint8_t encode_hour(int hour) const;
  int decode_hour(uint8_t value) const;

  EventLoop& loop_;
  IrqLine& irq_;
  Clock clock_;
  mutable std::mutex mutex_;
  uint8_t index_ = 0;
  std::array<uint8_t, 128>& cmos_;
  std::chrono::seconds& offset_;
  std::chrono::seconds looked_{0};  // guest's time up to which the flags tell
  Time period_start_;               // host's time when the current period began
  bool look_posted_ = false;
  Timer timer_;
  std::shared_ptr<RtcCmos*> self_;  // held weakly by callbacks queued in the loop
};

}  // namespace vmm
