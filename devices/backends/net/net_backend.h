// NetBackend: where a network card's frames go, and come from, as its device sees it.
//
// A frame is a scatter list that begins with the header of virtio-net (struct virtio_net_hdr_v1), followed by an
// Ethernet frame without checksum. All calls are made on the loop and none blocks. What cannot be done now is followed
// by a call of the client, once. A frame that the host does not take for good is dropped, as on any wire; trouble that
// lasts shows as a link that is down.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace vmm {

// The longest frame with its header: what is segmented by the host has up to 64 KiB behind its Ethernet and VLAN tags.
constexpr size_t kNetHeader = 12;
constexpr size_t kEthernetHeader = 14;
constexpr size_t kMaxFrame = kNetHeader + kEthernetHeader + 4 + 65536;

// The device, as its backend sees it.
class NetClient {
 public:
  virtual ~NetClient() = default;
  virtual void frames_arrived(size_t queue) = 0;
  virtual void room_made(size_t queue) = 0;
  virtual void link_changed() = 0;
};

class NetBackend {
 public:
  virtual ~NetBackend() = default;

  virtual std::string describe() const = 0;  // "tap0 (tap)": for messages
  virtual size_t queues() const { return 1; }
  // The offloads that the host's side can do: VIRTIO_NET_F_* bits for checksums and segmentation, as a set.
  virtual uint64_t offloads() const { return 0; }
  virtual uint16_t mtu() const { return 0; }  // 0: not known
  virtual bool link_up() const = 0;

  // Null detaches: what arrives waits, or is lost. Frames are told of only after a receive() that found none.
  virtual void attach(NetClient* client) = 0;
  // What of offloads() the driver takes, and how many of the queues it uses, from the first on.
  virtual void configure(uint64_t /*guest_offloads*/, size_t /*queues_used*/) {}

  // Takes one frame into `room`, which has at least kMaxFrame bytes, and returns its length, header included. Nothing:
  // frames_arrived(queue) will follow.
  virtual std::optional<size_t> receive(size_t queue, std::span<const iovec> room) = 0;
  // False: not now; offer it again after room_made(queue).
  virtual bool send(size_t queue, std::span<const iovec> frame) = 0;
};

}  // namespace vmm
