// virtio-balloon: memory that the guest does without, given back to the host. Virtio 1.2 §5.5.
//
//   queue 0     pages that go into the balloon, as numbers of 32 bits
//   queue 1     pages that the driver takes out again: nothing to do, as a page comes back with its first use
//   queue 2     statistics: one buffer, which is kept until somebody wants newer ones
//   queue 3     free page hinting, on request: the request's number, then buffers that are the free pages themselves
//   queue 4     free page reporting, without being asked: only such buffers
//
// The device asks for a size, the target, and the driver comes as near to it as it can; with deflate-on-OOM it takes
// pages back on its own. Whatever the driver says about pages is a wish to lose their contents: one that is not RAM is
// counted and passed over, and any other was the guest's to lose. A page is given back before its buffer is, so the
// driver never uses one that is still to be lost.
//
// A hint (§5.5.6.5) is taken as no more than advice: the driver may use the page again before its buffer comes back, as
// Linux does when it runs short, so that a host that loses what is in it loses data. The host only takes such pages
// first when it is short of memory itself, and what is in them stays.
//
// Without hints queue 3 has no meaning in the specification (§5.5.2), but it is where Linux has its reporting queue,
// because it counts only the queues that exist; queue 4 is for drivers that number them as specified. Both are served.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "devices/virtio/balloon_config.h"
#include "devices/virtio/spec.h"
#include "devices/virtio/virtio_device.h"
#include "vmm/core/log.h"
#include "vmm/core/wakeup.h"

namespace vmm {

class VirtioBalloon : public VirtioDevice {
 public:
  // What the driver said of the guest's memory, and when. By VIRTIO_BALLOON_S_*; a driver need not know all.
  struct Statistics {
    std::chrono::steady_clock::time_point when;
    std::array<std::optional<uint64_t>, VIRTIO_BALLOON_S_NR> values;
  };
  // What came of the pages that the driver named, over all drivers.
  struct Counts {
    uint64_t discarded_bytes = 0;
    uint64_t bad_pages = 0;  // pages that are no RAM
  };
  // What the driver said is free, when it was asked.
  struct Hints {
    uint64_t bytes = 0;     // bytes that the host takes first now
    bool complete = false;  // it came to an end
  };

  // `memory` is the guest's, in bytes; the balloon is no larger.
  VirtioBalloon(const BalloonConfig& config, uint64_t memory);

  // All on the loop. How large the balloon is to be; rounded down to pages. Throws Error when it exceeds the memory.
  void set_target(uint64_t bytes);
  uint64_t target() const { return uint64_t{target_pages_} << VIRTIO_BALLOON_PFN_SHIFT; }
  // How large the driver says that it is: never more than the memory.
  uint64_t actual() const;
  // The latest, if any came since the last reset. They are as old as the last request, or the driver's start.
  const std::optional<Statistics>& statistics() const { return statistics_; }
  // Asks the driver for new ones; when it has none to give yet, as soon as it does. `told`, which replaces the one
  // before, is called once they have come.
  void request_statistics(std::function<void()> told = {});
  const Counts& counts() const { return counts_; }
  // Asks the driver what is free. `told`, which replaces the one before, is called once it has said all. Throws Error
  // when there is no driver that hints.
  void request_hints(std::function<void()> told = {});
  // Waits for no more of them, as the driver need not come to an end.
  void end_hints();
  // Hints of the last request since the last reset.
  const Hints& hints() const { return hints_; }
  // The number of the request that follows the one of that number: none that has a meaning of its own, also when they
  // start again.
  static constexpr uint32_t next_hint_id(uint32_t last) {
    return std::max<uint32_t>(last + 1, VIRTIO_BALLOON_CMD_ID_DONE + 1);
  }

  std::string name() const override { return "virtio-balloon"; }
  VirtioTraits traits() const override;
  void read_config(size_t offset, std::span<std::byte> out) const override;
  void write_config(size_t offset, std::span<const std::byte> in) override;
  void activate(uint64_t features) override;
  Task<void> serve(size_t index, Virtqueue& queue) override;
  void stopping() override;
  void reset() override;

 private:
  Task<void> inflate(Virtqueue& queue);
  Task<void> report(Virtqueue& queue);
  Task<void> take_hints(Virtqueue& queue);
  void set_hint_command(uint32_t command);
  bool hinting() const { return hint_command_ > VIRTIO_BALLOON_CMD_ID_DONE; }
  Task<void> collect_statistics(Virtqueue& queue);
  void take_statistics(const DescriptorChain& chain);
  bool has(unsigned bit) const { return (features_ & feature(bit)) != 0; }

  const BalloonConfig config_;
  const uint64_t memory_size_;
  uint64_t features_ = 0;  // agreed on
  bool running_ = false;
  uint32_t target_pages_ = 0;
  uint32_t hint_command_ = VIRTIO_BALLOON_CMD_ID_STOP;  // or the number of the request the driver is at
  // Written by vCPU threads.
  std::atomic<uint32_t> actual_pages_ = 0;
  std::atomic<uint32_t> poison_ = 0;

  std::optional<Statistics> statistics_;
  Wakeup statistics_wanted_;
  std::function<void()> told_;
  uint32_t last_hint_id_ = 0;
  Hints hints_;
  std::function<void()> hints_told_;
  Counts counts_;
  LogLimit log_limit_;
};

}  // namespace vmm
