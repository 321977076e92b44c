// Pl031: ARM's PrimeCell real-time clock: seconds in 32 bits, and an alarm. PL031 Technical Reference Manual, r1p3 (ARM
// DDI 0224B).
//
// The time is the host's, in UTC, plus an offset that the guest makes when it sets the clock. Nothing ticks here, but
// for a timer of the loop that waits for the alarm while the guest wants its interrupt.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "devices/device.h"
#include "devices/irq.h"
#include "vmm/core/event_loop.h"

namespace vmm {

class Pl031 : public Device {
 public:
  static constexpr uint64_t kSize = 0x1000;
  using Time = std::chrono::sys_seconds;
  using Clock = std::function<Time()>;

  // `offset`: guest's time minus host's, which outlives a reset. Built and destroyed on the loop's thread.
  Pl031(
      EventLoop& loop, IrqLine& irq, std::chrono::seconds& offset,
      Clock clock = [] { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); });
  Pl031(const Pl031&) = delete;
  Pl031& operator=(const Pl031&) = delete;

  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;

 private:
  struct Registers;
  uint32_t now() const;
  void update();
  void raise_when_due();
  void watch_alarm();

  EventLoop& loop_;
  IrqLine& irq_;
  std::chrono::seconds& offset_;
  Clock clock_;
  std::mutex mutex_;
  uint32_t match_ = 0;
  uint32_t load_ = 0;
  bool armed_ = false;     // RTCMR is a moment that has not come since it was written
  bool raised_ = false;    // RTCRIS
  bool unmasked_ = false;  // RTCIMSC
  bool watched_ = false;   // the loop looks for the alarm now and then
  Timer timer_;
  std::shared_ptr<Pl031*> self_;  // held weakly by callbacks queued in the loop
};

}  // namespace vmm
