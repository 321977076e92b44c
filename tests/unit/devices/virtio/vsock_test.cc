// Connections between hosts and guests, honest and others.
#include "devices/virtio/vsock.h"

#include <catch2/catch.hpp>

#include "tests/support/vsock_driver.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint32_t kPort = 1024;  // of the guest

std::string pattern(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i / 7 + i) % 26);
  return text;
}

}  // namespace

TEST_CASE("virtio-vsock: tells the guest its address", "[virtio][vsock]") {
  const VsockDriver vsock;
  uint64_t cid = 0;
  vsock.device.read_config(0, std::as_writable_bytes(std::span(&cid, 1)));
  CHECK(cid == VsockDriver::kCid);
  CHECK(vsock.device.traits().config_size == sizeof cid);
  CHECK(vsock.device.traits().queue_sizes.size() == 3);
}

// ---- connections of the host

TEST_CASE("virtio-vsock: a host's client is told OK when the guest accepts, and bytes flow", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd client(vsock.files("v"));
  client.send("CONNECT 1024\nearly");
  const auto request = vsock.expect();
  CHECK(request.header.op == VIRTIO_VSOCK_OP_REQUEST);
  CHECK(request.header.src_cid == VMADDR_CID_HOST);
  CHECK(request.header.dst_cid == VsockDriver::kCid);
  CHECK(request.header.dst_port == kPort);
  CHECK(request.header.buf_alloc == VsockStream::kCapacity);
  CHECK(client.receive().empty());

  const uint32_t port = request.header.src_port;
  vsock.send(VsockDriver::header(kPort, port, VIRTIO_VSOCK_OP_RESPONSE));
  CHECK(client.receive() == "OK " + std::to_string(port) + "\n");
  const auto early = vsock.expect();
  CHECK(early.header.op == VIRTIO_VSOCK_OP_RW);
  CHECK(early.data == "early");
  vsock.send(VsockDriver::header(kPort, port, VIRTIO_VSOCK_OP_RW), "hello");
  CHECK(client.receive() == "hello");
  client.send("and you");
  CHECK(vsock.expect().data == "and you");
}

TEST_CASE("virtio-vsock: a host's client whom the guest refuses is closed", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd client(vsock.files("v"));
  client.send("CONNECT 1024\n");
  const auto request = vsock.expect();
  vsock.send(VsockDriver::header(kPort, request.header.src_port, VIRTIO_VSOCK_OP_RST));
  CHECK(client.ended());
  CHECK(vsock.device.connections() == 0);
  CHECK_FALSE(vsock.next().has_value());
}

TEST_CASE("virtio-vsock: connections to one port are different ones", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd one, two;
  const uint32_t first = vsock.accept(one, kPort);
  const uint32_t second = vsock.accept(two, kPort);
  CHECK(first != second);
  vsock.send(VsockDriver::header(kPort, second, VIRTIO_VSOCK_OP_RW), "second");
  CHECK(one.receive().empty());
  CHECK(two.receive() == "second");
}

TEST_CASE("virtio-vsock: without a driver a host's client is turned away", "[virtio][vsock]") {
  VsockDriver vsock;
  vsock.stop();
  HostEnd client(vsock.files("v"));
  client.send("CONNECT 1024\n");
  CHECK(wait_until(vsock.host.loop(), [&] { return client.ended(); }));
}

TEST_CASE("virtio-vsock: a client that goes before the guest answers leaves nothing behind", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd client(vsock.files("v"));
  client.send("CONNECT 1024\n");
  const auto request = vsock.expect();
  client.close();
  vsock.send(VsockDriver::header(kPort, request.header.src_port, VIRTIO_VSOCK_OP_RESPONSE));
  CHECK(vsock.expect_op() == VIRTIO_VSOCK_OP_SHUTDOWN);
  vsock.send(VsockDriver::header(kPort, request.header.src_port, VIRTIO_VSOCK_OP_RST));
  CHECK(vsock.device.connections() == 0);
}

// ---- connections of the guest

TEST_CASE("virtio-vsock: the guest reaches a listener of the host", "[virtio][vsock]") {
  VsockDriver vsock;
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_REQUEST));
  const auto response = vsock.expect();
  CHECK(response.header.op == VIRTIO_VSOCK_OP_RESPONSE);
  CHECK(response.header.src_port == 5000);
  CHECK(response.header.dst_port == kPort);
  HostEnd end = vsock.listener.accept();
  end.send("welcome");
  CHECK(vsock.expect().data == "welcome");
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_RW), "thanks");
  CHECK(end.receive() == "thanks");
}

TEST_CASE("virtio-vsock: nobody listening is a RST", "[virtio][vsock]") {
  VsockDriver vsock;
  vsock.send(VsockDriver::header(kPort, 5001, VIRTIO_VSOCK_OP_REQUEST));
  const auto answer = vsock.expect();
  CHECK(answer.header.op == VIRTIO_VSOCK_OP_RST);
  CHECK(answer.header.src_port == 5001);
  CHECK(answer.header.dst_port == kPort);
}

TEST_CASE("virtio-vsock: a second REQUEST for a connection resets it", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_REQUEST));
  CHECK(vsock.expect_op() == VIRTIO_VSOCK_OP_RST);
  CHECK(end.ended());
}

TEST_CASE("virtio-vsock: has a bounded number of connections", "[virtio][vsock]") {
  VsockDriver vsock(2);
  const HostEnd first = vsock.connect(1);
  HostEnd client;
  vsock.accept(client, kPort);
  vsock.send(VsockDriver::header(2, 5000, VIRTIO_VSOCK_OP_REQUEST));
  CHECK(vsock.expect_op() == VIRTIO_VSOCK_OP_RST);
  HostEnd late(vsock.files("v"));
  late.send("CONNECT 1024\n");
  CHECK(wait_until(vsock.host.loop(), [&] { return late.ended(); }));
  CHECK(vsock.device.connections() == 2);
}

// ---- credit

TEST_CASE("virtio-vsock: sends no more than the guest has room for, and asks once", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  auto update = VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
  update.buf_alloc = 100;
  vsock.send(update);
  const std::string text = pattern(500);
  end.send(text);
  CHECK(vsock.expect().data == text.substr(0, 100));
  CHECK(vsock.expect_op() == VIRTIO_VSOCK_OP_CREDIT_REQUEST);
  vsock.offer(2);
  CHECK_FALSE(vsock.next().has_value());

  update.buf_alloc = 50;  // less than is on its way
  vsock.send(update);
  CHECK_FALSE(vsock.next().has_value());
  update.fwd_cnt = 100;
  update.buf_alloc = 400;
  vsock.send(update);
  CHECK(vsock.next()->data == text.substr(100));
}

TEST_CASE("virtio-vsock: a guest that has taken what was never sent is reset", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  auto update = VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
  update.fwd_cnt = 1;
  vsock.send(update);
  CHECK(vsock.expect_op() == VIRTIO_VSOCK_OP_RST);
  CHECK(end.ended());
}

TEST_CASE("virtio-vsock: tells the guest what the host has taken", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_RW), pattern(1000));
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_CREDIT_REQUEST));
  const auto answer = vsock.expect();
  CHECK(answer.header.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE);
  CHECK(answer.header.fwd_cnt == 1000);
  CHECK(answer.header.buf_alloc == VsockStream::kCapacity);
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_RW), pattern(30000));  // worth telling unasked
  CHECK(vsock.expect().header.fwd_cnt == 31000);
  CHECK(end.receive() == pattern(1000) + pattern(30000));
}

TEST_CASE("virtio-vsock: data beyond the guest's credit resets that connection only", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd other = vsock.connect(kPort + 1);
  HostEnd end = vsock.connect(kPort);
  const auto data = VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_RW);
  for (int i = 0; i < 40 && vsock.device.connections() == 2; ++i) vsock.send(data, pattern(32000));
  CHECK(vsock.device.connections() == 1);
  vsock.send(VsockDriver::header(kPort + 1, 5000, VIRTIO_VSOCK_OP_RW), "still here");
  CHECK(other.receive() == "still here");
}

// ---- packets that make no sense

TEST_CASE("virtio-vsock: a length beyond the chain resets the connection", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  auto data = VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_RW);
  data.len = GENERATE(5u, 65536u, 0x7fffffffu, 0xffffffffu);
  vsock.send(data, "four");
  CHECK(vsock.expect_op() == VIRTIO_VSOCK_OP_RST);
  CHECK(end.receive().empty());
  CHECK(vsock.device.connections() == 0);
}

TEST_CASE("virtio-vsock: bytes behind the length are none of the stream", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  auto data = VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_RW);
  data.len = 4;
  vsock.send(data, "four and more");
  CHECK(end.receive() == "four");
}

TEST_CASE("virtio-vsock: what is for no connection is answered with RST", "[virtio][vsock]") {
  VsockDriver vsock;
  const auto op = GENERATE(as<uint16_t>(), 0, VIRTIO_VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_OP_RW,
                           VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 8, 0xffff);
  vsock.send(VsockDriver::header(kPort, 5000, op));
  const auto answer = vsock.expect();
  CHECK(answer.header.op == VIRTIO_VSOCK_OP_RST);
  CHECK(answer.header.src_port == 5000);
  CHECK(answer.header.dst_port == kPort);
}

TEST_CASE("virtio-vsock: an operation that nobody knows resets its connection", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  vsock.send(VsockDriver::header(kPort, 5000, GENERATE(as<uint16_t>(), 0, 8, 0xffff, VIRTIO_VSOCK_OP_RESPONSE)));
  CHECK(vsock.expect_op() == VIRTIO_VSOCK_OP_RST);
  CHECK(end.ended());
}

TEST_CASE("virtio-vsock: another type or another host is refused as such", "[virtio][vsock]") {
  VsockDriver vsock;
  auto request = VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_REQUEST);
  request.type = GENERATE(as<uint16_t>(), VIRTIO_VSOCK_TYPE_SEQPACKET, VIRTIO_VSOCK_TYPE_STREAM);
  request.dst_cid = request.type == VIRTIO_VSOCK_TYPE_STREAM ? uint64_t{VMADDR_CID_HOST} << 32 : VMADDR_CID_HOST;
  vsock.send(request);
  const auto answer = vsock.expect();
  CHECK(answer.header.op == VIRTIO_VSOCK_OP_RST);
  CHECK(answer.header.type == request.type);
  CHECK(answer.header.src_cid == request.dst_cid);
  CHECK(vsock.device.connections() == 0);
}

TEST_CASE("virtio-vsock: a RST is never answered, nor a packet of somebody else", "[virtio][vsock]") {
  VsockDriver vsock;
  vsock.offer(4);
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_RST));
  auto foreign = VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_REQUEST);
  foreign.src_cid = GENERATE(uint64_t{2}, uint64_t{43}, (uint64_t{1} << 32) + VsockDriver::kCid);
  vsock.send(foreign);
  vsock.from_driver->chain().readable("too short to be a packet").publish();
  CHECK(vsock.taken());
  CHECK_FALSE(vsock.next().has_value());
  CHECK_FALSE(vsock.listener.accept().connected());
}

TEST_CASE("virtio-vsock: a packet may be cut anywhere", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  auto header = VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_RW);
  header.len = 10;
  const std::string packet = std::string(reinterpret_cast<const char*>(&header), sizeof header) + "0123456789";
  const size_t cut = GENERATE(1u, 20u, 43u, 44u, 45u, 53u, 54u);
  vsock.from_driver->chain().readable(packet.substr(0, cut)).readable(packet.substr(cut)).publish();
  CHECK(vsock.taken());
  CHECK(end.receive() == "0123456789");
}

TEST_CASE("virtio-vsock: a buffer too small for a packet goes back, and loses none", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  end.send("precious");
  vsock.offer(2, GENERATE(1u, 43u, 44u));
  CHECK(vsock.to_driver->next_used()->length == 0);
  CHECK(vsock.to_driver->next_used()->length == 0);
  vsock.offer(1, 48);
  CHECK(vsock.next()->data == "prec");
  CHECK(vsock.expect().data == "ious");
}

TEST_CASE("virtio-vsock: a driver that reads no answers gets a bounded number of them", "[virtio][vsock]") {
  VsockDriver vsock;
  for (int i = 0; i < 3000; ++i) vsock.send(VsockDriver::header(kPort, 5001, VIRTIO_VSOCK_OP_RW));
  unsigned answers = 0;
  for (;; ++answers) {
    vsock.offer(1, 64);
    if (!vsock.next()) break;
  }
  CHECK(answers == 2048);
}

TEST_CASE("virtio-vsock: while the driver has no buffers a host waits, and nothing spins", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  end.send(pattern(3000));
  vsock.host.loop().run_ready();
  CHECK(vsock.host.loop().run_ready() == 0);
  CHECK(vsock.host.loop().run_ready() == 0);
  CHECK(vsock.expect().data == pattern(3000));
}

// ---- endings

TEST_CASE("virtio-vsock: a guest that closes both ways is told RST, and the host gets everything", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  std::string sent;
  // More than the socket takes, so that some is left here.
  for (int i = 0; i < 200; ++i) {
    vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_CREDIT_REQUEST));
    const auto credit = vsock.expect();
    if (static_cast<uint32_t>(sent.size()) - credit.header.fwd_cnt > 20000) break;
    vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_RW), pattern(8000));
    sent += pattern(8000);
  }
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_SHUTDOWN, 3));
  CHECK(vsock.device.connections() == 0);
  CHECK(vsock.expect_op() == VIRTIO_VSOCK_OP_RST);
  std::string received;
  REQUIRE(wait_until(vsock.host.loop(), [&] {
    received += end.receive();
    return received.size() >= sent.size() && end.ended();
  }));
  CHECK(received == sent);
}

TEST_CASE("virtio-vsock: a guest that only sends no more still receives", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_RW), "last");
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND));
  CHECK(end.receive() == "last");
  CHECK(end.ended());
  end.send("the answer");
  CHECK(vsock.expect().data == "the answer");
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV));
  CHECK(vsock.expect_op() == VIRTIO_VSOCK_OP_RST);
  CHECK(vsock.device.connections() == 0);
}

TEST_CASE("virtio-vsock: a guest that only receives no more still sends", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_SHUTDOWN, 0));  // means nothing
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV));
  vsock.host.loop().run_ready();
  CHECK(end.send("nobody reads it") == 0);
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_RW), "more");
  CHECK(end.receive() == "more");
}

TEST_CASE("virtio-vsock: data after the guest's SHUTDOWN resets", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND));
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_RW), "more");
  CHECK(vsock.expect_op() == VIRTIO_VSOCK_OP_RST);
  CHECK(end.receive().empty());
}

TEST_CASE("virtio-vsock: a host that closes is SHUTDOWN, behind all it sent", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  end.send("last words");
  end.close();
  CHECK(vsock.expect().data == "last words");
  const auto closed = vsock.expect();
  CHECK(closed.header.op == VIRTIO_VSOCK_OP_SHUTDOWN);
  CHECK(closed.header.flags == (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND));
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_RST));
  CHECK(vsock.device.connections() == 0);
}

TEST_CASE("virtio-vsock: a host that sends no more still receives", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd end = vsock.connect(kPort);
  end.send("question");
  end.end_output();
  CHECK(vsock.expect().data == "question");
  CHECK(vsock.expect().header.flags == VIRTIO_VSOCK_SHUTDOWN_SEND);
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_RW), "answer");
  CHECK(end.receive() == "answer");
  vsock.send(VsockDriver::header(kPort, 5000, VIRTIO_VSOCK_OP_SHUTDOWN, 3));
  CHECK(end.ended());
}

TEST_CASE("virtio-vsock: a reset closes all connections, and new ones can be made", "[virtio][vsock]") {
  VsockDriver vsock;
  HostEnd client;
  vsock.accept(client, kPort);
  HostEnd end = vsock.connect(kPort + 1);
  end.send("not read any more");
  vsock.stop();
  CHECK(vsock.running == 0);
  CHECK(client.ended());
  CHECK(end.ended());
  CHECK(vsock.device.connections() == 0);
  vsock.start();
  vsock.accept(client, kPort);
  client.send("again");
  CHECK(vsock.expect().data == "again");
}

TEST_CASE("virtio-vsock: connections that come and go while the driver offers no buffer leave nothing behind",
          "[virtio][vsock]") {
  VsockDriver vsock;
  for (int i = 0; i < 100; ++i) {
    vsock.send(VsockDriver::header(7, 5000, VIRTIO_VSOCK_OP_REQUEST));
    CHECK(vsock.device.waiting_to_send() == 1);
    vsock.send(VsockDriver::header(7, 5000, VIRTIO_VSOCK_OP_RST));
    (void)vsock.listener.accept();
  }
  CHECK(vsock.device.connections() == 0);
  CHECK(vsock.device.waiting_to_send() == 0);
}
