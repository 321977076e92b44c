// Rings, checks of headers, and the table of connections; see vsock.h.
#include "devices/virtio/vsock.h"

#include <sys/socket.h>
// It needs what <sys/socket.h> defines.
#include <linux/vm_sockets.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace vmm {

namespace {

constexpr uint16_t kQueueSize = 128;
constexpr size_t kQueueToDriver = 0;
constexpr size_t kQueueFromDriver = 1;
// A driver that makes us refuse and refuse but offers no buffer for the answers gets no further ones.
constexpr size_t kMaxResets = 2048;
// Host ports of connections that the host asked for: above those that a service would choose.
constexpr uint32_t kFirstPort = uint32_t{1} << 30;

}  // namespace

VirtioVsock::VirtioVsock(VsockBackend& backend, size_t most)
    : backend_(backend), most_(most), data_(VsockStream::kCapacity), next_port_(kFirstPort) {
  backend_.attach([this](std::unique_ptr<VsockStream> stream, uint32_t port) { client(std::move(stream), port); });
}

VirtioVsock::~VirtioVsock() { backend_.attach(nullptr); }

VirtioTraits VirtioVsock::traits() const {
  return {.device_id = VIRTIO_ID_VSOCK,
          .queue_sizes = {kQueueSize, kQueueSize, kQueueSize},
          .config_size = sizeof(virtio_vsock_config),
          .pci_class = 0x078000};  // "other communication controller"
}

void VirtioVsock::read_config(size_t offset, std::span<std::byte> out) const {
  const virtio_vsock_config config = {.guest_cid = backend_.cid()};
  const auto bytes = std::as_bytes(std::span(&config, 1)).subspan(offset, out.size());
  std::copy(bytes.begin(), bytes.end(), out.begin());
}

void VirtioVsock::activate(uint64_t) { running_ = true; }

void VirtioVsock::stopping() {
  running_ = false;
  work_.notify();
}

void VirtioVsock::reset() {
  connections_.clear();
  lingering_.clear();
  turns_.clear();
  resets_.clear();
}

// Buffers for events stay in their queue.
Task<void> VirtioVsock::serve(size_t index, Virtqueue& queue) {
  if (index == kQueueToDriver) return send(queue);
  if (index == kQueueFromDriver) return receive(queue);
  return serve_nothing();
}

// ---- to the driver

// Whoever finds something to send says so to work_ as the last thing it does: this task may then run at once, and end
// connections.
Task<void> VirtioVsock::send(Virtqueue& queue) {
  for (;;) {
    while (resets_.empty() && turns_.empty() && running_) co_await work_;
    if (!running_) co_return;
    auto chain = co_await queue.next();
    if (!chain) co_return;
    if (!fill(*chain)) queue.put_back(std::move(*chain));  // it was wanted when we began to wait
  }
}

// False when nothing was to be sent. A buffer without room for data goes back empty.
bool VirtioVsock::fill(DescriptorChain& chain) {
  constexpr size_t kHeader = sizeof(virtio_vsock_hdr);
  if (chain.writable_size() <= kHeader) return true;
  if (!resets_.empty()) {
    chain.write(std::as_bytes(std::span(&resets_.front(), 1)));
    resets_.pop_front();
    return true;
  }
  const size_t room = std::min(chain.writable_size() - kHeader, data_.size());
  while (!turns_.empty()) {
    const Ports ports = turns_.front();
    turns_.pop_front();
    const auto found = connections_.find(ports);
    if (found == connections_.end()) continue;
    VsockConnection& connection = found->second;
    connection.queued = false;
    virtio_vsock_hdr header = header_to(ports);
    if (!connection.make_packet(header, std::span(data_).first(room))) continue;
    chain.write(std::as_bytes(std::span(&header, 1)));
    chain.write(std::span(data_).first(header.len));
    let_send(ports, connection);
    return true;
  }
  return false;
}

void VirtioVsock::let_send(Ports ports, VsockConnection& connection) {
  if (!connection.wants_to_send() || std::exchange(connection.queued, true)) return;
  turns_.push_back(ports);
}

virtio_vsock_hdr VirtioVsock::header_to(Ports ports) const {
  virtio_vsock_hdr header = {};
  header.src_cid = VMADDR_CID_HOST;
  header.dst_cid = backend_.cid();
  header.src_port = ports.host;
  header.dst_port = ports.guest;
  header.type = VIRTIO_VSOCK_TYPE_STREAM;
  return header;
}

void VirtioVsock::post_reset(const virtio_vsock_hdr& header) {
  if (resets_.size() >= kMaxResets) return;
  resets_.push_back(header);
  resets_.back().op = VIRTIO_VSOCK_OP_RST;
}

void VirtioVsock::refuse(const virtio_vsock_hdr& header) {
  virtio_vsock_hdr answer = header_to({.host = header.dst_port, .guest = header.src_port});
  answer.src_cid = header.dst_cid;
  answer.type = header.type;
  post_reset(answer);
}

void VirtioVsock::reset_connection(Ports ports) {
  if (forget(ports)) post_reset(header_to(ports));
}

// True when there was such a connection. Its turn goes with it, or a guest could gather as many as it likes.
bool VirtioVsock::forget(Ports ports) {
  const auto found = connections_.find(ports);
  if (found == connections_.end()) return false;
  if (found->second.queued) std::erase(turns_, ports);
  connections_.erase(found);
  return true;
}

// ---- from the driver

Task<void> VirtioVsock::receive(Virtqueue& queue) {
  while (auto chain = co_await queue.next()) {
    virtio_vsock_hdr header = {};
    if (chain->read_at(0, std::as_writable_bytes(std::span(&header, 1))) == sizeof header) {
      handle(header, *chain);
    } else {
      guest_debug(log_limit_, "virtio-vsock: a packet of {} bytes has no header", chain->readable_size());
    }
    work_.notify();
  }
}

void VirtioVsock::handle(const virtio_vsock_hdr& header, const DescriptorChain& chain) {
  if (header.src_cid != backend_.cid()) return;  // §5.10.6.4.2: it is not the guest's address
  const bool to_host = header.dst_cid == VMADDR_CID_HOST && header.type == VIRTIO_VSOCK_TYPE_STREAM;
  const Ports ports = {.host = header.dst_port, .guest = header.src_port};
  if (header.op == VIRTIO_VSOCK_OP_RST) {  // never answered: two peers could go on for ever
    if (to_host) forget(ports);
    return;
  }
  const auto found = to_host ? connections_.find(ports) : connections_.end();
  if (found != connections_.end()) {
    deliver(ports, found->second, header, chain);
  } else if (to_host && header.op == VIRTIO_VSOCK_OP_REQUEST) {
    request(ports, header);
  } else {
    refuse(header);
  }
}

void VirtioVsock::deliver(Ports ports, VsockConnection& connection, const virtio_vsock_hdr& header,
                          const DescriptorChain& chain) {
  size_t length = 0;
  if (header.op == VIRTIO_VSOCK_OP_RW) {
    // Never more than the connection has room for, whatever the driver says.
    if (header.len > std::min(data_.size(), chain.readable_size() - sizeof header)) return reset_connection(ports);
    length = chain.read_at(sizeof header, std::span(data_).first(header.len));
  }
  if (header.op == VIRTIO_VSOCK_OP_REQUEST ||
      !connection.receive(header, std::span<const std::byte>(data_).first(length))) {
    guest_debug(log_limit_, "virtio-vsock: port {}: operation {} is out of place", ports.guest, unsigned{header.op});
    return reset_connection(ports);
  }
  if (!connection.finished()) return let_send(ports, connection);
  linger(connection.take_stream());
  reset_connection(ports);
}

void VirtioVsock::request(Ports ports, const virtio_vsock_hdr& header) {
  auto stream = full() ? nullptr : backend_.connect(ports.host);
  if (!stream) return refuse(header);
  VsockConnection& connection = add(ports, VsockConnection::Asked::kByGuest, std::move(stream));
  if (!connection.receive(header, {})) return reset_connection(ports);
  let_send(ports, connection);
}

// The guest has closed the connection, and the host has not yet taken all that was sent.
void VirtioVsock::linger(std::unique_ptr<VsockStream> stream) {
  if (stream->buffered() == 0) return;
  stream->set_on_event([this](VsockStream::Event) {
    std::erase_if(lingering_, [](const auto& ended) { return ended->buffered() == 0; });
  });
  lingering_.push_back(std::move(stream));
}

// ---- from the host

VsockConnection& VirtioVsock::add(Ports ports, VsockConnection::Asked asked, std::unique_ptr<VsockStream> stream) {
  stream->set_on_event([this, ports](VsockStream::Event event) { host_event(ports, event); });
  const auto on_silence = [this, ports] {
    reset_connection(ports);
    work_.notify();
  };
  return connections_
      .emplace(std::piecewise_construct, std::forward_as_tuple(ports),
               std::forward_as_tuple(backend_.loop(), ports, asked, std::move(stream), on_silence))
      .first->second;
}

// A client that cannot be served is turned away by closing its socket.
void VirtioVsock::client(std::unique_ptr<VsockStream> stream, uint32_t port) {
  if (!running_ || full()) return;
  Ports ports = {.host = next_port_, .guest = port};
  while (connections_.contains(ports)) ++ports.host;  // there are more ports than connections
  next_port_ = std::max(ports.host + 1, kFirstPort);
  let_send(ports, add(ports, VsockConnection::Asked::kByHost, std::move(stream)));
  work_.notify();
}

void VirtioVsock::host_event(Ports ports, VsockStream::Event event) {
  const auto found = connections_.find(ports);
  if (found == connections_.end()) return;
  found->second.host_event(event);
  let_send(ports, found->second);
  work_.notify();
}

}  // namespace vmm
