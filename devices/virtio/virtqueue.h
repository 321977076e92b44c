// Virtqueue: the device side of one split ring. Virtio 1.2 §2.7.
//
// Tasks take chains with `co_await queue.next()`. A kick (the driver's notification, an EventFd) wakes them on the
// loop. In a turn of the loop only so many bytes of chains are taken (kTurnBytes), then other devices get theirs,
// however fast a driver adds more: by that, work that grows with a chain's size is bounded. Descriptors are copied out
// of guest memory once, checked, and never looked at again. Used entries are published at once; whether the driver
// wants an interrupt is decided once, at the end of the loop's turn.
//
// The kick is looked at only while somebody waits in next(). So a ring may as well be served by another process, which
// is told where it lies and given its kick (vhost_user.h); then this is no more than the ring's place.
//
// A chain that is malformed but has a valid head goes straight back with length 0, as does one that is too long, unless
// the device has an answer to that. A ring that cannot be trusted any
// more (an impossible index, a head in flight twice) latches the queue: it stops, `on_broken` tells the transport, and
// only a reset helps.
#pragma once

#include <coroutine>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/virtio/descriptor_chain.h"
#include "devices/virtio/spec.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/fd.h"
#include "vmm/core/guest_memory.h"
#include "vmm/core/turn_budget.h"

namespace vmm {

// Where the driver put a ring, and how it is used.
struct VirtqueueConfig {
  uint16_t size = 0;
  GuestAddress descriptors;
  GuestAddress available;
  GuestAddress used;
  bool event_index = false;  // VIRTIO_RING_F_EVENT_IDX was negotiated
  bool indirect = false;     // VIRTIO_RING_F_INDIRECT_DESC was negotiated
  std::string name = {};     // in trace lines
};

class Virtqueue : private Poller {
 public:
  // Bytes of chains that are taken in one turn; the last one may exceed it. Each counts for kChainBytes and its
  // descriptors as well, for the work that it is whatever its size.
  static constexpr size_t kTurnBytes = size_t{4} << 20;
  static constexpr size_t kChainBytes = size_t{16} << 10;
  static constexpr size_t kDescriptorBytes = 64;

  struct Stats {
    uint64_t chains = 0;
    uint64_t bad_chains = 0;
    uint64_t interrupts = 0;
  };

  // Checks the ring's place. Null when the size is not a power of two up to 32768 or a part of the ring is misaligned
  // or not in RAM. `interrupt` is called on the loop when the driver should hear of used buffers; `on_broken` with a
  // reason when the ring cannot be trusted.
  static std::unique_ptr<Virtqueue> create(const GuestMemory& memory, EventLoop& loop, const EventFd& kick,
                                           const VirtqueueConfig& config, std::function<void()> interrupt,
                                           std::function<void(const char*)> on_broken);
  Virtqueue(const Virtqueue&) = delete;
  Virtqueue& operator=(const Virtqueue&) = delete;
  ~Virtqueue() override;

  uint16_t size() const { return config_.size; }
  // Where its buffers lie, and who serves it.
  const GuestMemory& memory() const { return *memory_; }
  EventLoop& loop() const { return loop_; }
  const Stats& stats() const { return stats_; }
  bool stopped() const { return stopped_; }
  // The ring's place and its kick and interrupt, for another process that serves it instead.
  const VirtqueueConfig& config() const { return config_; }
  const EventFd& kick() const { return kick_; }
  void interrupt() const { interrupt_(); }

  // The next chain, or nothing once the queue has been stopped. Several tasks may wait.
  class NextAwaiter;
  NextAwaiter next();
  // The next chain if there is one now; never waits. Nothing also when stopped.
  std::optional<DescriptorChain> try_next();

  // Hands what the driver has made available by now to those who wait in next(): its notification may be on its way.
  void take_available();
  // Restores the ring to what it was before this chain was taken; nothing may have been written to the chain's buffers.
  // Several are put back in the reverse order. A chain after which others were taken and returned cannot be put back:
  // it is returned, with a length of 0.
  void put_back(DescriptorChain chain);

  // Gets every chain that is too long, to answer it before it goes back: some of its buffers are missing, but not the
  // last writable one. For devices whose drivers look for an answer there.
  void set_on_too_long(std::function<void(DescriptorChain&)> answer) { on_too_long_ = std::move(answer); }

  // Makes every next() answer with nothing. Chains in flight stay valid and are still returned. Idempotent.
  void stop();
  // True while chains taken from the ring have not been returned.
  bool busy() const { return in_flight_count_ > 0; }

 private:
  friend class DescriptorChain;
  Virtqueue(EventLoop& loop, const EventFd& kick, const VirtqueueConfig& config);

  bool poll() override;
  bool rest() override;
  void on_kick();
  void wake_waiters();
  std::optional<DescriptorChain> next_request();  // for a task in next(): counted on the loop
  bool has_available() const;
  std::optional<uint16_t> pop_head();
  enum class Walk { kWhole, kTooLong, kMalformed };
  Walk walk(uint16_t head, DescriptorChain& chain);
  Walk walk_indirect(const vring_desc& descriptor, size_t before, DescriptorChain& chain);
  bool add_buffer(const vring_desc& descriptor, bool too_long, DescriptorChain& chain) const;
  void complete(DescriptorChain& chain);
  void want_notification();
  void schedule_end_of_turn();
  void notify_driver();
  void break_ring(const char* why);

  EventLoop& loop_;
  const EventFd& kick_;
  VirtqueueConfig config_;
  const GuestMemory* memory_ = nullptr;
  GuestSlice descriptors_;
  GuestSlice available_;
  GuestSlice used_;
  std::function<void()> interrupt_;
  std::function<void(const char*)> on_broken_;
  std::function<void(DescriptorChain&)> on_too_long_;
  FdWatch kick_watch_;

  std::deque<NextAwaiter*> waiters_;
  std::vector<bool> in_flight_;  // by head: the same head twice is a broken ring
  size_t in_flight_count_ = 0;
  std::vector<std::vector<GuestSlice>> spare_slices_;  // storage of returned chains, for the next ones
  uint16_t next_available_ = 0;
  uint16_t next_used_ = 0;
  uint16_t signalled_used_ = 0;  // next_used_ when the driver was last told
  TurnBudget budget_;
  bool end_of_turn_scheduled_ = false;
  bool asked_ = false;  // the driver knows that it is to tell of what follows next_available_
  bool stopped_ = false;
  Stats stats_;
  // Callbacks queued in the loop may outlive the queue: they hold this weakly.
  std::shared_ptr<Virtqueue*> self_;
};

// What `co_await queue.next()` waits on.
class Virtqueue::NextAwaiter {
 public:
  explicit NextAwaiter(Virtqueue& queue) : queue_(queue) {}
  NextAwaiter(const NextAwaiter&) = delete;
  NextAwaiter& operator=(const NextAwaiter&) = delete;

  bool await_ready();
  void await_suspend(std::coroutine_handle<> waiting);
  std::optional<DescriptorChain> await_resume() { return std::move(chain_); }

 private:
  friend class Virtqueue;
  Virtqueue& queue_;
  std::coroutine_handle<> waiting_;
  std::optional<DescriptorChain> chain_;
};

}  // namespace vmm
