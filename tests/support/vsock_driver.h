// VsockDriver: a guest's side of virtio-vsock, packet by packet, with the real sockets of the host behind the device.
#pragma once

#include <linux/vm_sockets.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "devices/backends/vsock/vsock_host.h"
#include "devices/virtio/vsock.h"
#include "tests/support/driver_queue.h"
#include "tests/support/temp_file.h"
#include "tests/support/unix_ends.h"
#include "tests/support/wait_until.h"

namespace vmm::test {

class VsockDriver {
 public:
  static constexpr uint32_t kCid = 42;
  static constexpr uint32_t kBuffer = 4096;

  struct Packet {
    virtio_vsock_hdr header = {};
    std::string data;
  };

  explicit VsockDriver(size_t most_connections = VirtioVsock::kMaxConnections) : device(backend, most_connections) {
    start();
  }
  ~VsockDriver() { stop(); }

  void start() {
    device.activate(0);
    to_driver = make_queue(0, 0x10000);
    from_driver = make_queue(1, 0x200000);
  }
  // As the transport does it.
  void stop() {
    device.stopping();
    to_driver->device_side().stop();
    from_driver->device_side().stop();
    host.loop().run_ready();
    device.reset();
  }
  void offer(unsigned buffers, uint32_t size = kBuffer) {
    for (unsigned i = 0; i < buffers; ++i) to_driver->chain().writable(size).publish();
  }

  // A packet of a connection that has credit to spare.
  static virtio_vsock_hdr header(uint32_t guest_port, uint32_t host_port, uint16_t op, uint32_t flags = 0) {
    virtio_vsock_hdr header = {};
    header.src_cid = kCid;
    header.dst_cid = VMADDR_CID_HOST;
    header.src_port = guest_port;
    header.dst_port = host_port;
    header.type = VIRTIO_VSOCK_TYPE_STREAM;
    header.op = op;
    header.flags = flags;
    header.buf_alloc = 1 << 20;
    return header;
  }
  void send(virtio_vsock_hdr packet, const std::string& data = {}) {
    if (packet.len == 0) packet.len = static_cast<uint32_t>(data.size());
    auto chain = from_driver->chain().readable_value(packet);
    if (!data.empty()) chain.readable(data);
    chain.publish();
    taken();
  }
  // The device has returned what was sent to it.
  bool taken() { return from_driver->next_used().has_value(); }

  // What the device sends now, if anything.
  std::optional<Packet> next() {
    const auto used = to_driver->next_used();
    if (!used) return std::nullopt;
    Packet packet;
    if (used->length < sizeof packet.header) return packet;
    const auto bytes = to_driver->bytes(used->writable.at(0));
    std::memcpy(&packet.header, bytes.data(), sizeof packet.header);
    packet.data = std::string(reinterpret_cast<const char*>(bytes.data()), used->length).substr(sizeof packet.header);
    return packet;
  }
  // The next packet, offering a buffer for it; op INVALID when none comes.
  Packet expect() {
    offer(1);
    std::optional<Packet> packet;
    wait_until(host.loop(), [&] { return (packet = next()).has_value(); });
    return packet.value_or(Packet());
  }
  // The operation alone.
  unsigned expect_op() { return expect().header.op; }

  // A connection to guest port `port`, whose host port is returned.
  uint32_t accept(HostEnd& client, uint32_t port) {
    client = HostEnd(files("v"));
    client.send("CONNECT " + std::to_string(port) + "\n");
    const Packet request = expect();
    send(header(port, request.header.src_port, VIRTIO_VSOCK_OP_RESPONSE));
    client.receive();  // the OK
    return request.header.src_port;
  }
  // A connection of guest port `port` to host port 5000, where `listener` is.
  HostEnd connect(uint32_t port) {
    send(header(port, 5000, VIRTIO_VSOCK_OP_REQUEST));
    (void)expect();
    return listener.accept();
  }

  FakeDeviceHost host;
  TempDirectory files;
  HostListener listener{files("v_5000")};
  VsockHost backend{host.loop(), {.path = files("v"), .cid = kCid}};
  VirtioVsock device;
  std::unique_ptr<DriverQueue> to_driver;
  std::unique_ptr<DriverQueue> from_driver;
  size_t running = 0;  // serve() tasks

 private:
  std::unique_ptr<DriverQueue> make_queue(size_t index, uint64_t base) {
    host.memory().write(GuestAddress{base}, std::vector<std::byte>(0x8000));  // a driver begins with a clean ring
    auto queue = std::make_unique<DriverQueue>(host, DriverQueue::Options{.base = base});
    ++running;
    host.loop().spawn(device.serve(index, queue->device_side()), [this] { --running; });
    return queue;
  }
};

}  // namespace vmm::test
