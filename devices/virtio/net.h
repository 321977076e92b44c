// virtio-net: a network card. Virtio 1.2 §5.1.
//
//   queue 2n, 2n + 1    pair n: frames to the driver, frames from the driver
//   the one after       control messages; after the first pair for a driver without VIRTIO_NET_F_MQ
//
// Frames go between the guest's buffers and the NetBackend without being copied: a chain's slices are the scatter list.
// Header and addresses of a frame that the driver sends are copied out and checked, and the copy is sent, so
// that another vCPU cannot change them in between.
//
// Towards the driver, buffers for the longest frame are held ready, as nobody knows how long the next one will be. What
// it did not need serves the next, and goes back into the ring when the device is stopped. A frame that does not fit
// into the buffers there are goes on into a spill of ours and waits for further ones.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "devices/backends/net/mac_address.h"
#include "devices/backends/net/net_backend.h"
#include "devices/virtio/net_filter.h"
#include "devices/virtio/spec.h"
#include "devices/virtio/virtio_device.h"
#include "vmm/core/wakeup.h"

namespace vmm {

class VirtioNet : public VirtioDevice, private NetClient {
 public:
  enum class SourceFilter { kOff, kOn };  // on: the driver may send from its own address only, and not change it

  struct Stats {
    uint64_t received = 0;
    uint64_t sent = 0;
    uint64_t received_dropped = 0;  // too long or too short for the driver
    uint64_t sent_dropped = 0;      // no frames, or refused by the rules
  };

  // Built and destroyed on the loop's thread. `name`: for messages ("0").
  VirtioNet(NetBackend& backend, const MacAddress& mac, SourceFilter source_filter, std::string name);
  VirtioNet(const VirtioNet&) = delete;
  VirtioNet& operator=(const VirtioNet&) = delete;
  ~VirtioNet() override;

  const Stats& stats() const { return stats_; }

  std::string name() const override { return "virtio-net " + name_; }
  VirtioTraits traits() const override;
  bool accepts(uint64_t features) const override;
  void read_config(size_t offset, std::span<std::byte> out) const override;
  void activate(uint64_t features) override;
  Task<void> serve(size_t index, Virtqueue& queue) override;
  void stopping() override;
  void reset() override;

 private:
  // The driver's buffers that wait for a frame, and the list of their parts.
  struct Held {
    void add(DescriptorChain chain);
    void remove_front(size_t chains);

    std::deque<DescriptorChain> chains;
    std::vector<iovec> parts;
    size_t bytes = 0;
  };
  struct Pair {
    Wakeup arrived;  // frames, or a change of what is used
    Wakeup room;
    std::unique_ptr<std::byte[]> spill;  // kMaxFrame bytes
  };

  void frames_arrived(size_t queue) override { pairs_[queue].arrived.notify(); }
  void room_made(size_t queue) override { pairs_[queue].room.notify(); }
  void link_changed() override;

  bool has(unsigned bit) const { return (features_ >> bit & 1) != 0; }
  bool merges() const { return has(VIRTIO_NET_F_MRG_RXBUF); }
  size_t longest_frame() const;
  Task<void> receive(size_t index, Virtqueue& queue);
  void fill(Held& held, Virtqueue& queue) const;
  void hold(Held& held, DescriptorChain chain) const;
  Task<bool> find_room(Held& held, Virtqueue& queue, std::span<const std::byte> rest);
  bool wanted(const Held& held) const;
  void deliver(Held& held, size_t length);
  Task<void> transmit(size_t index, Virtqueue& queue);

  // What goes out first: checked, and ours.
  struct FrameStart {
    virtio_net_hdr_v1 header;
    MacAddress destination;
    MacAddress source;
    std::array<std::byte, 2> type;
  };
  bool prepare(const DescriptorChain& chain, FrameStart& start, std::vector<iovec>& frame) const;

  Task<void> control(Virtqueue& queue);
  bool obey(const DescriptorChain& chain);
  bool set_filter_tables(const DescriptorChain& chain);
  bool set_mac(const DescriptorChain& chain);
  bool set_pairs(const DescriptorChain& chain);
  bool set_offloads(const DescriptorChain& chain);

  NetBackend& backend_;
  const MacAddress mac_;  // as assigned
  const SourceFilter source_filter_;
  const std::string name_;
  Stats stats_;

  virtio_net_config config_{};
  std::deque<Pair> pairs_;  // they do not move
  NetFilter filter_;
  size_t pairs_used_ = 1;
  uint64_t guest_offloads_ = 0;
  uint64_t features_ = 0;
  bool running_ = false;
};

}  // namespace vmm
