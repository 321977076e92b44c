// Tap: a network backend over a tap interface of the host.
//
// The kernel reads and writes the guest's buffers itself; a frame is one system call, and nothing is copied here. What
// arrives is taken in batches, so that a flood leaves other devices their turn; while the guest offers no buffer, it
// waits in the interface's own queue and costs nothing.
//
// The guest's link is up while the interface is. When it goes down the kernel says so on a netlink socket (for an
// interface of another network namespace: at the next frame, by EIO), and the descriptor becomes writable when it is up
// again. An interface that is deleted is opened anew when there is one of its name.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/backends/net/net_backend.h"
#include "devices/backends/net/tap_port.h"
#include "vmm/core/event_loop.h"

namespace vmm {

class Tap : public NetBackend {
 public:
  enum class OnLoss { kStayDown, kReopen };  // what can be done about an interface that was deleted

  struct Stats {
    uint64_t dropped = 0;  // frames that the host refused
  };

  Tap(EventLoop& loop, TapPort port, OnLoss on_loss);
  Tap(const Tap&) = delete;
  Tap& operator=(const Tap&) = delete;

  const Stats& stats() const { return stats_; }

  std::string describe() const override { return port_.name + " (tap)"; }
  size_t queues() const override { return port_.queues.size(); }
  uint64_t offloads() const override { return offloads_; }
  uint16_t mtu() const override { return mtu_; }
  bool link_up() const override { return link_up_; }
  void attach(NetClient* client) override;
  void configure(uint64_t guest_offloads, size_t queues_used) override;
  std::optional<size_t> receive(size_t queue, std::span<const iovec> room) override;
  bool send(size_t queue, std::span<const iovec> frame) override;

 private:
  static constexpr size_t kBatch = 64;  // frames that one turn of the loop takes from a queue

  struct Queue {
    FdWatch readable;
    FdWatch writable;
    Timer retry;  // for a shortage that no event ends
    size_t budget = kBatch;
    bool used = true;
  };

  void watch_queues();
  void watch_interfaces();
  void arrived(size_t queue);
  void writable(size_t queue);
  void look();
  bool reopen();
  void lost();
  void set_link(bool up);
  void wake_client();

  EventLoop& loop_;
  TapPort port_;
  const uint64_t offloads_;  // offloads of the port as it was first: the device cannot offer others later
  const uint16_t mtu_;
  OnLoss on_loss_;
  std::vector<std::unique_ptr<Queue>> queues_;
  UniqueFd interfaces_;  // netlink: says when any interface changes
  std::optional<FdWatch> interfaces_changed_;
  NetClient* client_ = nullptr;
  uint64_t guest_offloads_ = 0;
  size_t queues_used_ = 1;
  bool lost_ = false;
  bool link_up_ = false;
  Stats stats_;
};

}  // namespace vmm
