// virtio-net between a driver and a network that a test holds in its hands.
#include "devices/virtio/net.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "tests/support/driver_queue.h"
#include "tests/support/fake_net_backend.h"
#include "tests/support/virtio_pci_fixture.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kOffloads = feature(VIRTIO_NET_F_CSUM) | feature(VIRTIO_NET_F_HOST_TSO4) |
                               feature(VIRTIO_NET_F_GUEST_CSUM) | feature(VIRTIO_NET_F_GUEST_TSO4);
constexpr uint64_t kControl =
    feature(VIRTIO_NET_F_CTRL_VQ) | feature(VIRTIO_NET_F_CTRL_RX) | feature(VIRTIO_NET_F_CTRL_MAC_ADDR);
constexpr uint64_t kMerge = feature(VIRTIO_NET_F_MRG_RXBUF);

const std::string kOwn("\x52\x54\0\0\0\x01", 6);
const std::string kPeer("\x52\x54\0\0\0\x02", 6);
const std::string kAnybody("\xff\xff\xff\xff\xff\xff", 6);
constexpr MacAddress kMac{{0x52, 0x54, 0, 0, 0, 1}};
const std::string kNoHeader(kNetHeader, '\0');

std::string text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct Fixture {
  explicit Fixture(uint64_t features, size_t pairs = 1, VirtioNet::SourceFilter filter = VirtioNet::SourceFilter::kOff)
      : backend(pairs, kOffloads), net(backend, kMac, filter, "0") {
    net.activate(features);
    const bool several = (features & feature(VIRTIO_NET_F_MQ)) != 0;
    const size_t queues = several ? 2 * pairs + 1 : 3;
    for (size_t i = 0; i < queues; ++i) {
      const DriverQueue::Options options{.size = 16, .event_index = true, .base = 0x1000 + 0x80000 * i};
      driver.push_back(std::make_unique<DriverQueue>(host, options));
      host.loop().spawn(net.serve(i, driver.back()->device_side()), [this] { ++ended; });
    }
  }
  ~Fixture() { stop(); }

  void stop() {
    net.stopping();
    for (const auto& queue : driver) queue->device_side().stop();
    host.loop().run_ready();
  }
  DriverQueue& rx(size_t pair = 0) { return *driver[2 * pair]; }
  DriverQueue& tx(size_t pair = 0) { return *driver[2 * pair + 1]; }

  // The driver's command, and the device's answer.
  template <typename... Parts>
  int command(uint8_t type, uint8_t number, const Parts&... parts) {
    DriverQueue::Chain chain = driver.back()->chain();
    chain.readable_value(virtio_net_ctrl_hdr{type, number});
    (chain.readable(parts), ...);
    chain.writable(1).publish();
    const auto used = driver.back()->next_used();
    if (!used || used->length != 1) return -1;
    return static_cast<int>(driver.back()->bytes(used->writable[0])[0]);
  }
  // What the driver finds in its buffers, one string each.
  std::vector<std::string> received(size_t pair = 0) {
    std::vector<std::string> buffers;
    while (const auto used = rx(pair).next_used()) {
      std::string content;
      for (const Buffer& buffer : used->writable) content += text(rx(pair).bytes(buffer));
      buffers.push_back(content.substr(0, used->length));
    }
    return buffers;
  }
  uint16_t status() const {
    virtio_net_config config{};
    net.read_config(0, std::as_writable_bytes(std::span(&config, 1)).first(12));
    return config.status;
  }
  std::string mac() const {
    std::array<std::byte, 6> bytes;
    net.read_config(0, bytes);
    return text({bytes.begin(), bytes.end()});
  }

  FakeDeviceHost host;
  FakeNetBackend backend;
  VirtioNet net;
  std::vector<std::unique_ptr<DriverQueue>> driver;
  size_t ended = 0;
};

std::string number16(uint16_t value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }
std::string number32(uint32_t value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }
std::string number64(uint64_t value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }

}  // namespace

TEST_CASE("virtio-net: a frame goes out as it was, wherever its descriptors are cut", "[virtio][net]") {
  Fixture f(0);
  const std::string frame = ethernet(kPeer, kOwn, 1514);
  f.tx().chain().readable(kNoHeader + frame).publish();
  f.tx()
      .chain()
      .readable(kNoHeader.substr(0, 5))
      .readable(kNoHeader.substr(5) + frame.substr(0, 9))
      .readable(frame.substr(9, 700))
      .readable(frame.substr(709))
      .publish();
  CHECK(f.tx().next_used());
  CHECK(f.tx().next_used());
  REQUIRE(f.backend.sent.size() == 2);
  CHECK(f.backend.sent[0] == kNoHeader + frame);
  CHECK(f.backend.sent[1] == kNoHeader + frame);
}

TEST_CASE("virtio-net: what is shorter than a header and an Ethernet header is dropped", "[virtio][net]") {
  Fixture f(0);
  for (size_t size = 0; size < kNetHeader + kEthernetHeader; ++size) {
    f.tx().chain().readable(std::string(size, '\0')).publish();
    const auto used = f.tx().next_used();
    REQUIRE(used);
    CHECK(used->length == 0);
  }
  CHECK(f.backend.sent.empty());
  CHECK(f.net.stats().sent_dropped == kNetHeader + kEthernetHeader);
}

TEST_CASE("virtio-net: a frame that is longer than any is dropped", "[virtio][net]") {
  Fixture f(0);
  f.tx().chain().readable(std::string(kMaxFrame + 1, '\0')).publish();
  CHECK(f.tx().next_used());
  CHECK(f.backend.sent.empty());
}

TEST_CASE("virtio-net: buffers of the wrong direction come back untouched", "[virtio][net]") {
  Fixture f(0);
  f.tx().chain().readable(kNoHeader + ethernet(kPeer, kOwn, 60)).writable(10).publish();
  const auto sent = f.tx().next_used();
  REQUIRE(sent);
  CHECK(sent->length == 0);
  CHECK(f.backend.sent.empty());

  f.rx().chain().readable(std::string("x")).writable(2000).publish();
  const auto refused = f.rx().next_used();
  REQUIRE(refused);
  CHECK(refused->length == 0);
}

TEST_CASE("virtio-net: a frame whose header asks for what was not negotiated is dropped", "[virtio][net]") {
  Fixture f(0);
  std::string header = kNoHeader;
  header[0] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  f.tx().chain().readable(header + ethernet(kPeer, kOwn, 60)).publish();
  CHECK(f.tx().next_used());
  CHECK(f.backend.sent.empty());
}

TEST_CASE("virtio-net: with no room at the host, a frame waits for it, and for the link's end", "[virtio][net]") {
  Fixture f(0);
  f.backend.room = false;
  f.tx().chain().readable(kNoHeader + ethernet(kPeer, kOwn, 60)).publish();
  CHECK_FALSE(f.tx().next_used());
  f.backend.room = true;
  f.backend.client->room_made(0);
  CHECK(f.tx().next_used());
  CHECK(f.backend.sent.size() == 1);
}

TEST_CASE("virtio-net: a frame that waits for room does not hold up a reset", "[virtio][net]") {
  Fixture f(0);
  f.backend.room = false;
  f.tx().chain().readable(kNoHeader + ethernet(kPeer, kOwn, 60)).publish();
  f.host.loop().run_ready();
  f.stop();
  CHECK(f.ended == f.driver.size());
}

TEST_CASE("virtio-net: another's source address is dropped when the filter is on, sent when it is off",
          "[virtio][net]") {
  const auto filter = GENERATE(VirtioNet::SourceFilter::kOff, VirtioNet::SourceFilter::kOn);
  Fixture f(0, 1, filter);
  f.tx().chain().readable(kNoHeader + ethernet(kPeer, kPeer, 60)).publish();
  f.tx().chain().readable(kNoHeader + ethernet(kPeer, kOwn, 60)).publish();
  CHECK(f.tx().next_used());
  CHECK(f.tx().next_used());
  const bool on = filter == VirtioNet::SourceFilter::kOn;
  CHECK(f.backend.sent.size() == (on ? 1 : 2));
  CHECK((f.net.traits().features & feature(VIRTIO_NET_F_CTRL_MAC_ADDR)) ==
        (on ? 0 : feature(VIRTIO_NET_F_CTRL_MAC_ADDR)));
}

TEST_CASE("virtio-net: a frame comes into one buffer of a driver that does not merge", "[virtio][net]") {
  Fixture f(0);
  f.rx().chain().writable(12).writable(1600).publish();
  f.host.loop().run_ready();
  const std::string frame = ethernet(kOwn, kPeer, 1514);
  f.backend.arrive(frame);
  const auto buffers = f.received();
  REQUIRE(buffers.size() == 1);
  CHECK(buffers[0] == std::string(10, '\0') + number16(1) + frame);
}

TEST_CASE("virtio-net: a frame too long for a driver that does not merge is dropped, the next is not",
          "[virtio][net]") {
  Fixture f(0);
  f.rx().chain().writable(100).publish();
  f.host.loop().run_ready();
  f.backend.arrive(ethernet(kOwn, kPeer, 1514));
  CHECK(f.received().empty());
  CHECK(f.net.stats().received_dropped == 1);
  f.backend.arrive(ethernet(kOwn, kPeer, 60));
  CHECK(f.received().size() == 1);
}

TEST_CASE("virtio-net: a long frame spreads over merged buffers, and the first says over how many", "[virtio][net]") {
  Fixture f(kMerge);
  for (int i = 0; i < 8; ++i) f.rx().chain().writable(1000).publish();
  f.host.loop().run_ready();
  const std::string frame = ethernet(kOwn, kPeer, 2500, 'y');
  f.backend.arrive(frame);
  f.backend.arrive(ethernet(kOwn, kPeer, 60));
  const auto buffers = f.received();
  REQUIRE(buffers.size() == 4);
  CHECK(buffers[0].size() == 1000);
  CHECK(buffers[1].size() == 1000);
  CHECK(buffers[2].size() == 512);
  CHECK(buffers[0].substr(10, 2) == number16(3));
  CHECK((buffers[0] + buffers[1] + buffers[2]).substr(kNetHeader) == frame);
  CHECK(buffers[3].substr(10, 2) == number16(1));
  CHECK(buffers[3].size() == kNetHeader + 60);
}

TEST_CASE("virtio-net: a frame longer than the buffers there are waits for further ones", "[virtio][net]") {
  Fixture f(kMerge);
  f.rx().chain().writable(1000).publish();
  f.host.loop().run_ready();
  const std::string frame = ethernet(kOwn, kPeer, 2500, 'y');
  f.backend.arrive(frame);
  CHECK(f.received().empty());
  f.rx().chain().writable(1000).publish();
  CHECK(f.received().empty());
  f.rx().chain().writable(1000).publish();
  const auto buffers = f.received();
  REQUIRE(buffers.size() == 3);
  CHECK(buffers[0].substr(10, 2) == number16(3));
  CHECK((buffers[0] + buffers[1] + buffers[2]).substr(kNetHeader) == frame);
}

TEST_CASE("virtio-net: a frame longer than the whole ring is dropped", "[virtio][net]") {
  Fixture f(kMerge);
  for (int i = 0; i < 16; ++i) f.rx().chain().writable(100).publish();
  f.host.loop().run_ready();
  f.backend.arrive(ethernet(kOwn, kPeer, 2500));
  f.backend.arrive(ethernet(kOwn, kPeer, 60));
  CHECK(f.received().size() == 1);
  CHECK(f.net.stats().received_dropped == 1);
}

TEST_CASE("virtio-net: what is too short for a frame from the host is dropped", "[virtio][net]") {
  Fixture f(0);
  f.rx().chain().writable(2000).publish();
  f.host.loop().run_ready();
  for (size_t size = 0; size < kNetHeader + kEthernetHeader; ++size) f.backend.arrive_raw(std::string(size, 'x'));
  CHECK(f.received().empty());
  CHECK(f.net.stats().received_dropped == kNetHeader + kEthernetHeader);
  f.backend.arrive(ethernet(kOwn, kPeer, 60));
  CHECK(f.received().size() == 1);
}

TEST_CASE("virtio-net: without a buffer from the driver the host is not asked for frames", "[virtio][net]") {
  Fixture f(kMerge);
  f.host.loop().run_ready();
  for (int i = 0; i < 1000; ++i) f.backend.arrive(ethernet(kOwn, kPeer, 60));
  f.host.loop().run_ready();
  CHECK(f.backend.receives == 0);
  f.rx().chain().writable(2000).publish();
  CHECK(f.received().size() == 1);
  CHECK(f.backend.incoming[0].size() == 999);
}

TEST_CASE("virtio-net: buffers too small for any frame come back", "[virtio][net]") {
  Fixture f(kMerge);
  f.rx().chain().writable(25).publish();
  f.rx().chain().writable(0).publish();
  CHECK(f.received() == std::vector<std::string>{"", ""});
}

TEST_CASE("virtio-net: buffers that were held are the ring's again after a stop", "[virtio][net]") {
  Fixture f(kMerge);
  for (int i = 0; i < 8; ++i) f.rx().chain().writable(1000).publish();
  f.host.loop().run_ready();
  CHECK(f.rx().device_side().busy());
  f.stop();
  CHECK(f.received().empty());
  CHECK_FALSE(f.rx().device_side().busy());
}

TEST_CASE("virtio-net: one interrupt tells of a batch", "[virtio][net]") {
  Fixture f(kMerge);
  for (int i = 0; i < 8; ++i) f.rx().chain().writable(2000).publish();
  for (int i = 0; i < 8; ++i) f.backend.arrive(ethernet(kOwn, kPeer, 60));
  CHECK(f.received().size() == 8);
  CHECK(f.rx().interrupts == 1);
}

TEST_CASE("virtio-net: a checksum the host has checked is not told to a driver that cannot know", "[virtio][net]") {
  const bool knows = GENERATE(false, true);
  Fixture f(knows ? feature(VIRTIO_NET_F_GUEST_CSUM) : 0);
  f.rx().chain().writable(2000).publish();
  f.host.loop().run_ready();
  std::string header = kNoHeader;
  header[0] = VIRTIO_NET_HDR_F_DATA_VALID;
  f.backend.arrive_raw(header + ethernet(kOwn, kPeer, 60));
  const auto buffers = f.received();
  REQUIRE(buffers.size() == 1);
  CHECK(buffers[0][0] == (knows ? VIRTIO_NET_HDR_F_DATA_VALID : 0));
}

TEST_CASE("virtio-net: the link's state is shown, and a change told", "[virtio][net]") {
  Fixture f(feature(VIRTIO_NET_F_STATUS));
  unsigned changes = 0;
  f.net.change_config = [&](const VirtioDevice::Change& change) {
    change();
    ++changes;
  };
  CHECK(f.status() == VIRTIO_NET_S_LINK_UP);
  f.backend.set_link(false);
  CHECK(f.status() == 0);
  f.backend.set_link(true);
  CHECK(f.status() == VIRTIO_NET_S_LINK_UP);
  CHECK(changes == 2);
}

TEST_CASE("virtio-net: the configuration cannot be written", "[virtio][net]") {
  Fixture f(0);
  const std::array<std::byte, 12> other{};
  f.net.write_config(0, other);
  CHECK(f.mac() == kOwn);
}

TEST_CASE("virtio-net: the driver sets its address, until it is reset", "[virtio][net]") {
  Fixture f(kControl);
  CHECK(f.command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, kPeer) == VIRTIO_NET_OK);
  CHECK(f.mac() == kPeer);
  CHECK(f.command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, kPeer.substr(1)) == VIRTIO_NET_ERR);
  f.stop();
  f.net.reset();
  CHECK(f.mac() == kOwn);
}

TEST_CASE("virtio-net: out of promiscuous mode, others' frames use no buffer", "[virtio][net]") {
  Fixture f(kControl | kMerge);
  for (int i = 0; i < 4; ++i) f.rx().chain().writable(2000).publish();
  CHECK(f.command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, std::string(1, '\0')) == VIRTIO_NET_OK);
  f.backend.arrive(ethernet(kPeer, kPeer, 60));
  CHECK(f.received().empty());
  f.backend.arrive(ethernet(kOwn, kPeer, 60));
  f.backend.arrive(ethernet(kAnybody, kPeer, 61));
  const auto buffers = f.received();
  REQUIRE(buffers.size() == 2);
  CHECK(buffers[1].size() == kNetHeader + 61);
  const std::string table = number32(1) + kPeer + number32(0);
  CHECK(f.command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table) == VIRTIO_NET_OK);
  f.backend.arrive(ethernet(kPeer, kPeer, 60));
  CHECK(f.received().size() == 1);
}

TEST_CASE("virtio-net: a table that claims more than it has is refused, a long one is taken for all", "[virtio][net]") {
  Fixture f(kControl);
  const auto set = [&](const std::string& table) {
    return f.command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table);
  };
  CHECK(set("") == VIRTIO_NET_ERR);
  CHECK(set(number32(0)) == VIRTIO_NET_ERR);
  CHECK(set(number32(2) + kPeer + number32(0)) == VIRTIO_NET_ERR);
  CHECK(set(number32(0xffffffff) + kPeer + number32(0)) == VIRTIO_NET_ERR);
  CHECK(set(number32(0) + number32(0x2aaaaaab)) == VIRTIO_NET_ERR);
  CHECK(set(number32(1000) + std::string(6000, 'm') + number32(0)) == VIRTIO_NET_OK);
}

TEST_CASE("virtio-net: commands that are none, or were not negotiated, are refused", "[virtio][net]") {
  Fixture f(feature(VIRTIO_NET_F_CTRL_VQ), 2);
  CHECK(f.command(VIRTIO_NET_CTRL_RX, 77, std::string(1, '\1')) == VIRTIO_NET_ERR);
  CHECK(f.command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC) == VIRTIO_NET_ERR);
  CHECK(f.command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, kPeer) == VIRTIO_NET_ERR);
  CHECK(f.command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, number16(2)) == VIRTIO_NET_ERR);
  CHECK(f.command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, number64(0)) == VIRTIO_NET_ERR);
  CHECK(f.command(0xee, 0xee) == VIRTIO_NET_ERR);
  f.driver.back()->chain().readable(std::string(1, '\0')).writable(1).publish();
  const auto used = f.driver.back()->next_used();
  REQUIRE(used);
  CHECK(used->length == 1);
  f.driver.back()->chain().readable_value(virtio_net_ctrl_hdr{}).publish();
  CHECK(f.driver.back()->next_used());
}

TEST_CASE("virtio-net: pairs are used when the driver says so", "[virtio][net]") {
  Fixture f(kControl | feature(VIRTIO_NET_F_MQ), 3);
  CHECK(f.backend.configured.queues == 1);
  const std::string frame = kNoHeader + ethernet(kPeer, kOwn, 60);
  f.tx(2).chain().readable(frame).publish();
  CHECK(f.tx(2).next_used());
  CHECK(f.backend.sent.empty());
  f.rx(2).chain().writable(2000).publish();
  f.backend.arrive(ethernet(kOwn, kPeer, 60), 2);
  CHECK(f.received(2).empty());

  const auto set = [&](uint16_t pairs) {
    return f.command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, number16(pairs));
  };
  CHECK(set(0) == VIRTIO_NET_ERR);
  CHECK(set(4) == VIRTIO_NET_ERR);
  CHECK(set(3) == VIRTIO_NET_OK);
  CHECK(f.backend.configured.queues == 3);
  CHECK(f.received(2).size() == 1);
  f.tx(2).chain().readable(frame).publish();
  CHECK(f.tx(2).next_used());
  CHECK(f.backend.sent.size() == 1);
}

TEST_CASE("virtio-net: offloads are the host's, and the driver turns them off and on", "[virtio][net]") {
  constexpr uint64_t kGuest = feature(VIRTIO_NET_F_GUEST_CSUM) | feature(VIRTIO_NET_F_GUEST_TSO4);
  Fixture f(kControl | kGuest | feature(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS));
  CHECK((f.net.traits().features & kOffloads) == kOffloads);
  CHECK(f.backend.configured.offloads == kGuest);
  const auto set = [&](uint64_t offloads) {
    return f.command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, number64(offloads));
  };
  CHECK(set(feature(VIRTIO_NET_F_GUEST_CSUM)) == VIRTIO_NET_OK);
  CHECK(f.backend.configured.offloads == feature(VIRTIO_NET_F_GUEST_CSUM));
  CHECK(set(feature(VIRTIO_NET_F_GUEST_TSO4)) == VIRTIO_NET_ERR);
  CHECK(set(feature(VIRTIO_NET_F_GUEST_TSO6)) == VIRTIO_NET_ERR);
  CHECK(set(feature(VIRTIO_NET_F_CSUM)) == VIRTIO_NET_ERR);
  CHECK(f.backend.configured.offloads == feature(VIRTIO_NET_F_GUEST_CSUM));
}

TEST_CASE("virtio-net: a queue beyond what was negotiated is served by nothing", "[virtio][net]") {
  FakeNetBackend network(2);
  VirtioPciFixture f(std::make_unique<VirtioNet>(network, kMac, VirtioNet::SourceFilter::kOff, "0"));
  const auto [features, queue] = GENERATE(table<uint64_t, uint16_t>({
      {0, uint16_t{2}},  // the control queue's place, and of the second pair
      {0, uint16_t{3}},
      {0, uint16_t{4}},
      {feature(VIRTIO_NET_F_CTRL_VQ), uint16_t{3}},
      {feature(VIRTIO_NET_F_CTRL_VQ), uint16_t{4}},
  }));
  f.negotiate(VirtioPciFixture::kVersion1 | features);
  f.set_queue(queue);
  f.set_status(VirtioPciFixture::kAgreed | VIRTIO_CONFIG_S_DRIVER_OK);
  f.host.loop().run_ready();
  f.submit();
  f.ring_doorbell(queue);
  network.arrive(ethernet(kOwn, kPeer, 60));
  f.host.loop().run_ready();
  CHECK(f.used_index() == 0);
  f.set_status(0);
  f.host.loop().run_ready();
  CHECK(f.status() == 0);
}
