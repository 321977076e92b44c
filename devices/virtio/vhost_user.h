// VhostUser: a virtio device that another process serves: a disk, a shared directory or a network card. Here is only
// its front end, which the guest's driver negotiates with; the rings are the back-end's, from the guest's notification
// (its eventfd goes there) to what it returns. Virtio 1.2 §5.1, §5.2, §5.11; the protocol is in vhost_user_message.h.
//
// The back-end's call comes back through the loop, which interrupts the guest as for any other device: that costs a
// wake-up of the loop for each interrupt, and is when the ring is looked at, to know what is under way.
//
// serve() of one queue leads: it is one task that does all the talking, in order: when the driver has started the
// device, features, memory and rings; when it stops, each ring's end. When the back-end dies in between, the rings stay
// as they are, and the next back-end goes on where it stopped: with the account of its predecessor where it keeps one
// (VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD), else with what OutstandingHeads knows.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/backends/net/mac_address.h"
#include "devices/backends/vhost/vhost_user_socket.h"
#include "devices/virtio/outstanding_heads.h"
#include "devices/virtio/virtio_device.h"
#include "vmm/core/wakeup.h"

namespace vmm {

// What a back-end has to be for each kind of device.
VhostUserRole vhost_user_block_role();
VhostUserRole vhost_user_fs_role();
VhostUserRole vhost_user_net_role();

class VhostUser : public VirtioDevice, private VhostUserClient {
 public:
  // `name`: "vda", "0", a tag. `queues`: as many as both want.
  static std::unique_ptr<VhostUser> block(VhostUserSocket& backend, const std::string& name, uint16_t queues);
  static std::unique_ptr<VhostUser> fs(VhostUserSocket& backend, const std::string& tag);
  static std::unique_ptr<VhostUser> net(VhostUserSocket& backend, const std::string& name, const MacAddress& mac);
  VhostUser(const VhostUser&) = delete;
  VhostUser& operator=(const VhostUser&) = delete;
  ~VhostUser() override;

  std::string name() const override { return name_; }
  VirtioTraits traits() const override;
  bool accepts(uint64_t features) const override;
  void read_config(size_t offset, std::span<std::byte> out) const override;
  void write_config(size_t offset, std::span<const std::byte> in) override;
  void negotiated(uint64_t features) override;
  void activate(uint64_t features) override;
  Task<void> serve(size_t index, Virtqueue& queue) override;
  void stopping() override;
  void reset() override;

 private:
  // A queue of the device; `queue` while it is served.
  struct Ring {
    Ring(EventLoop& loop, uint16_t its_index);
    void called();

    const uint16_t index;
    EventFd call;
    FdWatch call_watch;
    Virtqueue* queue = nullptr;
    std::optional<OutstandingHeads> heads;
    bool started = false;  // at the back-end that there is
    Wakeup ended;
  };

  VhostUser(VhostUserSocket& backend, std::string name, VirtioTraits traits, std::vector<std::byte> config);

  void backend_lost() override;
  void backend_found() override;
  void show_backend();
  void send_write_cache();

  Task<void> serve_ring(Ring& ring, Virtqueue& queue);
  Task<void> lead(const GuestMemory& memory);
  Task<void> start(std::shared_ptr<VhostUserChannel> channel, const GuestMemory& memory);
  Task<bool> keep_account(VhostUserChannel& channel);
  void start_ring(VhostUserChannel& channel, Ring& ring);
  Task<void> stop_rings();

  VhostUserSocket& backend_;
  const std::string name_;
  const VirtioTraits traits_;
  std::vector<std::byte> config_;  // but for a disk's choice of cache
  std::atomic<uint8_t> write_cache_{1};
  std::atomic<bool> write_cache_posted_{false};
  std::atomic<bool> may_choose_{false};
  std::deque<Ring> rings_;  // by index; they do not move

  uint64_t features_ = 0;  // as negotiated
  bool begun_ = false;     // some back-end has served the rings since the driver started them
  bool started_ = false;   // the back-end that there is has been told of everything
  bool stopping_ = false;
  size_t serving_ = 0;
  Wakeup changed_;
  std::optional<VhostUserInflight> inflight_;  // the account that is handed on, and its memory
  UniqueFd inflight_fd_;
  // Callbacks queued in the loop may outlive the device: they hold this weakly.
  std::shared_ptr<VhostUser*> self_;
};

}  // namespace vmm
