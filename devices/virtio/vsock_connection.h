// VsockConnection: one stream between a port of the guest and a port of the host. Virtio 1.2 §5.10.6.
//
// It takes the driver's packets, and makes those for the driver when there is a buffer for one: what it owes is a bit
// per operation, and data stays in the host's socket until then. So nothing piles up here but what the host does not
// take, which the credit that the driver gets bounds.
//
//   asked by the host    REQUEST ->            <- RESPONSE            "OK PORT" to the host's client
//   asked by the guest   <- REQUEST            RESPONSE ->
//   the host is gone     SHUTDOWN ->           <- RST                 or a time-out, should the guest not answer
//   the guest is done    <- SHUTDOWN           RST ->                 the host still gets what was sent before
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "devices/backends/vsock/vsock_stream.h"
#include "devices/virtio/spec.h"
#include "devices/virtio/vsock_credit.h"
#include "vmm/core/event_loop.h"

namespace vmm {

class VsockConnection {
 public:
  struct Ports {
    uint32_t host = 0;
    uint32_t guest = 0;
    auto operator<=>(const Ports&) const = default;
  };
  enum class Asked { kByHost, kByGuest };
  // How long the driver may take to answer a REQUEST, or a SHUTDOWN of both sides.
  static constexpr std::chrono::milliseconds kPatience{10'000};

  // `on_silence` is called when it took longer.
  VsockConnection(EventLoop& loop, Ports ports, Asked asked, std::unique_ptr<VsockStream> stream,
                  std::function<void()> on_silence);

  VsockStream& stream() { return *stream_; }
  // What is still to be given to the host when the connection is no more.
  std::unique_ptr<VsockStream> take_stream() { return std::move(stream_); }

  // A packet of the driver, with its data. False: the connection is to be reset.
  bool receive(const virtio_vsock_hdr& header, std::span<const std::byte> data);
  // The driver has closed both ways.
  bool finished() const { return guest_done_ == kBoth; }
  void host_event(VsockStream::Event event);

  bool wants_to_send() const { return owed_ != 0 || may_send_data(); }
  // The next packet for the driver: fills in operation, flags, credit and length, and the data, which is `room` at
  // most. False when there is none after all.
  bool make_packet(virtio_vsock_hdr& header, std::span<std::byte> room);

  bool queued = false;  // it waits for its turn to send

 private:
  static constexpr uint32_t kBoth = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND;

  bool accepted();
  bool take_data(std::span<const std::byte> data);
  void guest_shutdown(uint32_t flags);
  void host_shutdown(uint32_t flags);
  void output_moved();
  bool may_send_data() const;
  void owe(virtio_vsock_op operation) { owed_ |= 1u << operation; }
  virtio_vsock_op take_owed();
  size_t read_data(std::span<std::byte> room);
  // The number of the driver's bytes that need no room here any more: fwd_cnt.
  uint32_t forwarded() const { return received_ - static_cast<uint32_t>(stream_->buffered()); }

  const Ports ports_;
  std::unique_ptr<VsockStream> stream_;
  Timer patience_;
  bool established_ = false;
  bool readable_ = false;    // the host may have sent something
  uint32_t owed_ = 0;        // bits by operation
  uint32_t guest_done_ = 0;  // VIRTIO_VSOCK_SHUTDOWN_* of each side: they are never taken back
  uint32_t host_done_ = 0;
  VsockCredit credit_;         // the guest's room for what we send
  bool asked_credit_ = false;  // since there was any
  uint32_t received_ = 0;
  uint32_t told_ = 0;  // the last count that the driver knows of
};

}  // namespace vmm
