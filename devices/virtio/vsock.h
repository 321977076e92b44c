// virtio-vsock: stream sockets between the guest and its host, without a network. Virtio 1.2 §5.10.
//
//   queue 0     packets for the driver
//   queue 1     packets from the driver
//   queue 2     events: none ever happens, as the guest's address never changes
//
// A packet from the driver is looked at once, when its header has been copied: it goes to its connection
// (vsock_connection.h), makes a new one, or is answered with RST. A packet for the driver is made only when there is a
// buffer for it, in turn for each connection that wants to send. So a driver without buffers costs nothing: hosts wait
// in their sockets, whose readiness is then asked for no more.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "devices/backends/vsock/vsock_backend.h"
#include "devices/virtio/spec.h"
#include "devices/virtio/virtio_device.h"
#include "devices/virtio/vsock_connection.h"
#include "vmm/core/log.h"
#include "vmm/core/wakeup.h"

namespace vmm {

class VirtioVsock : public VirtioDevice {
 public:
  static constexpr size_t kMaxConnections = 1024;

  // Built and destroyed on the loop's thread. Connections beyond `most` are refused.
  explicit VirtioVsock(VsockBackend& backend, size_t most = kMaxConnections);
  VirtioVsock(const VirtioVsock&) = delete;
  VirtioVsock& operator=(const VirtioVsock&) = delete;
  ~VirtioVsock() override;

  size_t connections() const { return connections_.size(); }
  size_t waiting_to_send() const { return turns_.size(); }  // of those

  std::string name() const override { return "virtio-vsock"; }
  VirtioTraits traits() const override;
  void read_config(size_t offset, std::span<std::byte> out) const override;
  void activate(uint64_t features) override;
  Task<void> serve(size_t index, Virtqueue& queue) override;
  void stopping() override;
  void reset() override;

 private:
  using Ports = VsockConnection::Ports;

  Task<void> send(Virtqueue& queue);
  Task<void> receive(Virtqueue& queue);
  bool fill(DescriptorChain& chain);
  void handle(const virtio_vsock_hdr& header, const DescriptorChain& chain);
  void deliver(Ports ports, VsockConnection& connection, const virtio_vsock_hdr& header, const DescriptorChain& chain);
  void request(Ports ports, const virtio_vsock_hdr& header);
  void client(std::unique_ptr<VsockStream> stream, uint32_t port);
  bool full() const { return connections_.size() + lingering_.size() >= most_; }
  VsockConnection& add(Ports ports, VsockConnection::Asked asked, std::unique_ptr<VsockStream> stream);
  void host_event(Ports ports, VsockStream::Event event);
  void let_send(Ports ports, VsockConnection& connection);
  void reset_connection(Ports ports);
  bool forget(Ports ports);
  void linger(std::unique_ptr<VsockStream> stream);
  void refuse(const virtio_vsock_hdr& header);
  void post_reset(const virtio_vsock_hdr& header);
  virtio_vsock_hdr header_to(Ports ports) const;

  VsockBackend& backend_;
  const size_t most_;
  std::map<Ports, VsockConnection> connections_;
  std::deque<Ports> turns_;              // connections that want to send
  std::deque<virtio_vsock_hdr> resets_;  // resets to be sent for connections that are none of ours, or no more
  std::vector<std::unique_ptr<VsockStream>> lingering_;  // streams of ended connections, until the host has taken all
  std::vector<std::byte> data_;                          // of one packet
  Wakeup work_;                                          // something can be sent, or the device stops
  bool running_ = false;
  uint32_t next_port_;
  LogLimit log_limit_;
};

}  // namespace vmm
