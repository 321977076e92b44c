// VsockCredit: how much may be sent to the driver on one connection. Virtio 1.2 §5.10.6.3.
//
// Both counters run freely and wrap at 2^32, so they are only ever subtracted. The driver is free to shrink its buffer
// below what is on its way; it cannot have taken what was never sent.
#pragma once

#include <algorithm>
#include <cstdint>

namespace vmm {

class VsockCredit {
 public:
  // More than this is never on its way, which keeps "older" and "newer" apart in modular arithmetic.
  static constexpr uint32_t kMost = uint32_t{1} << 30;

  // What a header says. False when it is impossible.
  bool update(uint32_t buf_alloc, uint32_t fwd_cnt) {
    const uint32_t step = fwd_cnt - fwd_cnt_;
    // Packets of different CPUs may overtake each other, so an older count is no mistake, just no news.
    const bool older = step > UINT32_MAX / 2;
    if (!older && step > in_flight()) return false;
    if (older && 0 - step > kMost) return false;
    if (!older) fwd_cnt_ = fwd_cnt;
    buf_alloc_ = std::min(buf_alloc, kMost);
    return true;
  }
  void sent(uint32_t bytes) { sent_ += bytes; }

  uint32_t in_flight() const { return sent_ - fwd_cnt_; }
  uint32_t available() const { return buf_alloc_ > in_flight() ? buf_alloc_ - in_flight() : 0; }

 private:
  uint32_t buf_alloc_ = 0;
  uint32_t sent_ = 0;
  uint32_t fwd_cnt_ = 0;  // the newest we know
};

}  // namespace vmm
