// RtcCmos: the PC's clock and its 128 bytes of memory, an MC146818 behind an index port (0x70) and a data port (0x71).
//
// The time is the host's, in UTC, plus an offset that the guest makes when it sets the clock. Nothing ticks here: time
// registers are worked out when they are read, and flags from how far time has moved since they were last looked at.
// Only while the guest wants update-ended or alarm interrupts does a timer of the loop look once per second. Of the
// periodic interrupt there is only the flag: today's systems use better timers, and it would cost 8192 wake-ups a
// second. Motorola MC146818 data sheet; the century at 0x32 and bit 7 of the index port are the PC's.
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
  bool wants_ticks() const;
  void schedule_tick();
  void tick();
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
  Time periodic_looked_;            // host's time of the same for the periodic flag
  bool tick_scheduled_ = false;
  Timer timer_;
  std::shared_ptr<RtcCmos*> self_;  // held weakly by callbacks queued in the loop
};

}  // namespace vmm
