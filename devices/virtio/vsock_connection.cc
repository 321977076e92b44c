// One connection's packets; see vsock_connection.h.
#include "devices/virtio/vsock_connection.h"

#include <fmt/core.h>

#include <algorithm>
#include <string>
#include <utility>

namespace vmm {

namespace {

// The driver hears of room when this much of it is news.
constexpr uint32_t kWorthTelling = VsockStream::kCapacity / 4;

// First what opens a connection; then what ends it: by then all data has gone.
constexpr virtio_vsock_op kOrder[] = {VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_SHUTDOWN,
                                      VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_CREDIT_REQUEST};

}  // namespace

VsockConnection::VsockConnection(EventLoop& loop, Ports ports, Asked asked, std::unique_ptr<VsockStream> stream,
                                 std::function<void()> on_silence)
    : ports_(ports), stream_(std::move(stream)), patience_(loop, std::move(on_silence)) {
  if (asked == Asked::kByGuest) {
    established_ = readable_ = true;
    owe(VIRTIO_VSOCK_OP_RESPONSE);
  } else {
    patience_.start(kPatience);
    owe(VIRTIO_VSOCK_OP_REQUEST);
  }
}

// ---- from the driver

bool VsockConnection::receive(const virtio_vsock_hdr& header, std::span<const std::byte> data) {
  if (!credit_.update(header.buf_alloc, header.fwd_cnt)) return false;
  if (credit_.available() > 0) asked_credit_ = false;
  if (header.op == VIRTIO_VSOCK_OP_RESPONSE) return accepted();
  if (!established_ && header.op != VIRTIO_VSOCK_OP_REQUEST) return false;
  switch (header.op) {
    case VIRTIO_VSOCK_OP_REQUEST:  // only the one that made this connection, for its credit
      return owed_ == 1u << VIRTIO_VSOCK_OP_RESPONSE && received_ == 0;
    case VIRTIO_VSOCK_OP_RW:
      return take_data(data);
    case VIRTIO_VSOCK_OP_SHUTDOWN:
      guest_shutdown(header.flags & kBoth);
      return true;
    case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
      return true;
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
      owe(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
      return true;
    default:
      return false;
  }
}

bool VsockConnection::accepted() {
  if (established_) return false;
  patience_.cancel();
  established_ = readable_ = true;
  const std::string answer = fmt::format("OK {}\n", ports_.host);
  stream_->write(std::as_bytes(std::span(answer)));  // the socket is empty: it goes there at once
  if (stream_->buffered() > 0) return false;
  output_moved();
  return true;
}

// Data behind the driver's SHUTDOWN, or beyond its credit, is a mistake.
bool VsockConnection::take_data(std::span<const std::byte> data) {
  if ((guest_done_ & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0) return false;
  if (data.size() > VsockStream::kCapacity - stream_->buffered()) return false;
  received_ += static_cast<uint32_t>(data.size());
  stream_->write(data);
  output_moved();
  return true;
}

void VsockConnection::guest_shutdown(uint32_t flags) {
  const uint32_t news = flags & ~guest_done_;
  guest_done_ |= flags;
  if ((news & VIRTIO_VSOCK_SHUTDOWN_RCV) != 0) stream_->end_input();
  if ((news & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0) stream_->end_output();
}

// ---- from the host

void VsockConnection::host_event(VsockStream::Event event) {
  if (event == VsockStream::Event::kInput) readable_ = true;
  if (event == VsockStream::Event::kOutput) output_moved();
}

void VsockConnection::output_moved() {
  if (stream_->broken()) host_shutdown(VIRTIO_VSOCK_SHUTDOWN_RCV);
  if (forwarded() - told_ >= kWorthTelling) owe(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
}

void VsockConnection::host_shutdown(uint32_t flags) {
  if ((flags & ~host_done_) == 0) return;
  host_done_ |= flags;
  owe(VIRTIO_VSOCK_OP_SHUTDOWN);
  if (host_done_ == kBoth) patience_.start(kPatience);
}

// ---- to the driver

bool VsockConnection::may_send_data() const {
  return established_ && readable_ && credit_.available() > 0 && (guest_done_ & VIRTIO_VSOCK_SHUTDOWN_RCV) == 0 &&
         (host_done_ & VIRTIO_VSOCK_SHUTDOWN_SEND) == 0;
}

virtio_vsock_op VsockConnection::take_owed() {
  for (const virtio_vsock_op operation : kOrder) {
    const uint32_t bit = 1u << operation;
    if ((owed_ & bit) == 0) continue;
    owed_ &= ~bit;
    return operation;
  }
  return VIRTIO_VSOCK_OP_INVALID;
}

// None: the host has sent nothing, or nothing any more.
size_t VsockConnection::read_data(std::span<std::byte> room) {
  const size_t most = std::min<size_t>(room.size(), credit_.available());
  const std::optional<size_t> length = stream_->read(room.first(most));
  if (!length) {
    host_shutdown(stream_->closed() ? kBoth : uint32_t{VIRTIO_VSOCK_SHUTDOWN_SEND});
    return 0;
  }
  readable_ = *length > 0;
  credit_.sent(static_cast<uint32_t>(*length));
  if (readable_ && credit_.available() == 0 && !std::exchange(asked_credit_, true)) {
    owe(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
  }
  return *length;
}

bool VsockConnection::make_packet(virtio_vsock_hdr& header, std::span<std::byte> room) {
  virtio_vsock_op operation = take_owed();
  size_t length = 0;
  if (operation == VIRTIO_VSOCK_OP_INVALID && may_send_data()) {
    length = read_data(room);
    operation = length > 0 ? VIRTIO_VSOCK_OP_RW : take_owed();
  }
  if (operation == VIRTIO_VSOCK_OP_INVALID) return false;
  header.op = static_cast<uint16_t>(operation);
  header.flags = operation == VIRTIO_VSOCK_OP_SHUTDOWN ? host_done_ : 0;
  header.len = static_cast<uint32_t>(length);
  header.buf_alloc = VsockStream::kCapacity;
  header.fwd_cnt = told_ = forwarded();
  return true;
}

}  // namespace vmm
