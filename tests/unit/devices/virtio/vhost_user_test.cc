// A virtio device behind a vhost-user socket: it works, and outlives its back-end.
#include "devices/virtio/vhost_user.h"

#include <catch2/catch.hpp>
#include <optional>
#include <set>

#include "tests/support/driver_queue.h"
#include "tests/support/temp_file.h"
#include "tests/support/vhost_user_peer.h"
#include "tests/support/wait_until.h"

using namespace vmm;
using namespace vmm::test;

namespace {

using Behaviour = VhostUserPeer::Behaviour;

constexpr size_t kSector = 512;
constexpr uint64_t kInflight = feature(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);

std::vector<std::byte> disk_of(size_t sectors) {
  std::vector<std::byte> disk(sectors * kSector);
  for (size_t i = 0; i < disk.size(); ++i) disk[i] = static_cast<std::byte>(i / kSector);
  return disk;
}

// A disk, and the driver of its first queue.
struct Fixture {
  explicit Fixture(Behaviour behaviour = Behaviour()) : peer(std::in_place, path, disk, std::move(behaviour)) {
    block.change_config = [this](const VirtioDevice::Change& change) {
      change();
      ++config_changes;
    };
  }
  ~Fixture() { stop(); }

  void start(uint64_t features = feature(VIRTIO_F_VERSION_1)) {
    block.negotiated(features);
    block.activate(features);
    running = true;
    host.loop().spawn(block.serve(0, driver.device_side()), [this] { running = false; });
  }
  void stop() {
    if (running) block.stopping();
    CHECK(wait_until(host.loop(), [this] { return !running; }));
    block.reset();
  }
  uint16_t publish_read(uint64_t sector, uint32_t bytes = kSector) {
    return driver.chain()
        .readable_value(virtio_blk_outhdr{.type = VIRTIO_BLK_T_IN, .ioprio = 0, .sector = sector})
        .writable(bytes)
        .writable(1)
        .publish();
  }
  // The first byte that was read; -1 when nothing was.
  int next_read() {
    const auto used = driver.wait_used();
    return used ? std::to_integer<int>(driver.bytes(used->writable[0])[0]) : -1;
  }
  bool peer_has(uint32_t request, unsigned times = 1) {
    return wait_until(host.loop(), [&] { return peer->count(request) >= times; });
  }
  void die() {
    peer.reset();
    CHECK(wait_until(host.loop(), [this] { return backend.channel() == nullptr; }));
  }
  void come_back(Behaviour behaviour = Behaviour()) { peer.emplace(path, disk, std::move(behaviour)); }

  TempDirectory place;
  const std::string path = place("socket");
  std::vector<std::byte> disk = disk_of(64);
  std::optional<VhostUserPeer> peer;
  FakeDeviceHost host{GuestMemory::Backing::kShared};
  VhostUserSocket backend{host.loop(), vhost_user_block_role(), path};
  std::unique_ptr<VhostUser> owner = VhostUser::block(backend, "vda", 4);
  VhostUser& block = *owner;
  DriverQueue driver{host, {.size = 64}};
  bool running = false;
  unsigned config_changes = 0;
};

}  // namespace

TEST_CASE("vhost-user: a disk is what its back-end says it is, and no more", "[virtio][vhost-user]") {
  Fixture f;
  const VirtioTraits traits = f.block.traits();
  CHECK(traits.device_id == VIRTIO_ID_BLOCK);
  CHECK(traits.features == feature(VIRTIO_BLK_F_FLUSH));
  CHECK((traits.ring_bits & feature(VIRTIO_RING_F_INDIRECT_DESC)) != 0);
  CHECK((traits.ring_bits & feature(VIRTIO_RING_F_EVENT_IDX)) == 0);
  CHECK(traits.queue_sizes.size() == 1);  // without VIRTIO_BLK_F_MQ
  virtio_blk_config config{};
  f.block.read_config(0, std::as_writable_bytes(std::span(&config, 1)).first(traits.config_size));
  CHECK(config.capacity == 64);
  CHECK(config.num_queues == 1);
}

TEST_CASE("vhost-user: limits of none are not offered as limits", "[virtio][vhost-user]") {
  Behaviour limited;
  limited.features |= feature(VIRTIO_BLK_F_SIZE_MAX) | feature(VIRTIO_BLK_F_SEG_MAX);
  CHECK(Fixture(limited).block.traits().features == feature(VIRTIO_BLK_F_FLUSH));
  limited.size_max = 65536;
  limited.seg_max = 126;
  CHECK(Fixture(limited).block.traits().features ==
        (feature(VIRTIO_BLK_F_FLUSH) | feature(VIRTIO_BLK_F_SIZE_MAX) | feature(VIRTIO_BLK_F_SEG_MAX)));
}

TEST_CASE("vhost-user: requests are served by the back-end, and interrupt", "[virtio][vhost-user]") {
  Fixture f;
  f.start();
  f.publish_read(7);
  CHECK(f.next_read() == 7);
  CHECK(wait_until(f.host.loop(), [&] { return f.driver.interrupts == 1; }));
  const std::string data(kSector, 'x');
  f.driver.chain()
      .readable_value(virtio_blk_outhdr{.type = VIRTIO_BLK_T_OUT, .ioprio = 0, .sector = 3})
      .readable(data)
      .writable(1)
      .publish();
  REQUIRE(f.driver.wait_used());
  CHECK(f.disk[3 * kSector] == std::byte{'x'});
  CHECK(f.peer->features() == (feature(VIRTIO_F_VERSION_1) | feature(VHOST_USER_F_PROTOCOL_FEATURES)));
}

TEST_CASE("vhost-user: what the driver said before the device began is not forgotten", "[virtio][vhost-user]") {
  Fixture f;
  f.publish_read(5);
  f.host.loop().run_ready();
  f.start();
  CHECK(f.next_read() == 5);
}

TEST_CASE("vhost-user: a stopped ring is left alone, and starts again", "[virtio][vhost-user]") {
  Fixture f;
  f.start();
  f.publish_read(1);
  CHECK(f.next_read() == 1);
  f.stop();
  CHECK(f.peer->count(VHOST_USER_GET_VRING_BASE) == 1);
  CHECK(f.peer->connected);
}

TEST_CASE("vhost-user: the driver's choice of cache goes to the back-end", "[virtio][vhost-user]") {
  Fixture f;
  f.start(feature(VIRTIO_F_VERSION_1) | feature(VIRTIO_BLK_F_CONFIG_WCE));
  CHECK(f.peer_has(VHOST_USER_SET_CONFIG));
  const std::byte on{1};
  f.block.write_config(offsetof(virtio_blk_config, capacity), {&on, 1});
  f.block.write_config(offsetof(virtio_blk_config, wce), {&on, 1});
  std::byte shown{0};
  f.block.read_config(offsetof(virtio_blk_config, wce), {&shown, 1});
  CHECK(shown == on);
  CHECK(f.peer_has(VHOST_USER_SET_CONFIG, 2));
}

TEST_CASE("vhost-user: requests that a dead back-end held are done by the next, each once", "[virtio][vhost-user]") {
  Behaviour behaviour;
  behaviour.holds = [](unsigned number) { return number % 3 == 0; };  // so they come back out of order
  Fixture f(behaviour);
  f.start();
  std::set<uint32_t> expected, returned;
  for (uint64_t i = 0; i < 20; ++i) expected.insert(f.publish_read(i));
  while (returned.size() < 13) returned.insert(f.driver.wait_used().value().id);
  f.die();
  expected.insert(f.publish_read(20));  // while there is nobody
  f.come_back();
  while (returned.size() < 21) {
    const auto used = f.driver.wait_used();
    REQUIRE(used);
    CHECK(returned.insert(used->id).second);
  }
  CHECK(returned == expected);
  CHECK(f.peer->base() == 13);
  f.publish_read(9);
  CHECK(f.next_read() == 9);
}

TEST_CASE("vhost-user: an account of requests is handed on to the next back-end", "[virtio][vhost-user]") {
  const UniqueFd account(::memfd_create("account", MFD_CLOEXEC));
  std::atomic<int> accounts = 0, handed = 0;
  Behaviour behaviour;
  behaviour.protocol |= kInflight;
  behaviour.instead = [&](VhostUserPeer& peer, const VhostUserPeer::Message& message) {
    if (message.header.request == VHOST_USER_GET_INFLIGHT_FD) {
      ++accounts;
      VhostUserInflight mine = message.value<VhostUserInflight>();
      mine.mmap_size = 4096;
      peer.reply(message.header.request, payload_of(mine), account.get());
      return true;
    }
    const bool is_handed = message.header.request == VHOST_USER_SET_INFLIGHT_FD;
    if (is_handed && message.fds.size() == 1 && message.value<VhostUserInflight>().mmap_size == 4096) ++handed;
    return is_handed;
  };
  Fixture f(behaviour);
  f.start();
  f.publish_read(1);
  CHECK(f.next_read() == 1);
  f.die();
  f.come_back(behaviour);
  f.publish_read(2);
  CHECK(f.next_read() == 2);
  CHECK(accounts == 1);
  CHECK(handed == 2);
}

TEST_CASE("vhost-user: a device stops, and starts, while there is no back-end", "[virtio][vhost-user]") {
  Fixture f;
  f.start();
  f.publish_read(1);
  CHECK(f.next_read() == 1);
  f.die();
  f.stop();
  f.come_back();
  CHECK(wait_until(f.host.loop(), [&] { return f.backend.channel() != nullptr; }));
  CHECK(f.peer->count(VHOST_USER_SET_VRING_KICK) == 0);
}

TEST_CASE("vhost-user: a back-end that does not answer is given up", "[virtio][vhost-user]") {
  Behaviour behaviour;
  behaviour.instead = [](VhostUserPeer&, const VhostUserPeer::Message& message) {
    return message.header.request == VHOST_USER_GET_VRING_BASE;
  };
  Fixture f(behaviour);
  f.start();
  f.publish_read(1);
  CHECK(f.next_read() == 1);
  f.stop();  // within its ten seconds
  CHECK(wait_until(f.host.loop(), [&] { return f.backend.channel() == nullptr; }));
}

TEST_CASE("vhost-user: a back-end that dies at any message is replaced", "[virtio][vhost-user]") {
  const uint32_t deadly = GENERATE(values<uint32_t>(
      {VHOST_USER_GET_FEATURES, VHOST_USER_SET_OWNER, VHOST_USER_GET_CONFIG, VHOST_USER_SET_FEATURES,
       VHOST_USER_SET_MEM_TABLE, VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_ENABLE}));
  Fixture f;
  f.start();
  f.publish_read(1);
  CHECK(f.next_read() == 1);
  f.die();
  std::atomic<bool> died = false;
  Behaviour behaviour;
  behaviour.instead = [&](VhostUserPeer& peer, const VhostUserPeer::Message& message) {
    const bool dies = message.header.request == deadly && !died.exchange(true);
    if (dies) peer.hang_up();
    return dies;
  };
  f.come_back(behaviour);
  f.publish_read(2);
  CHECK(f.next_read() == 2);
  CHECK(died);
}

TEST_CASE("vhost-user: a card's link is its back-end", "[virtio][vhost-user]") {
  const TempDirectory place;
  std::vector<std::byte> nothing(kSector);
  std::optional<VhostUserPeer> peer(std::in_place, place("socket"), nothing);
  FakeDeviceHost host(GuestMemory::Backing::kShared);
  VhostUserSocket backend(host.loop(), vhost_user_net_role(), place("socket"));
  const auto net = VhostUser::net(backend, "0", MacAddress{{2, 0, 0, 0, 0, 1}});
  CHECK((net->traits().features & feature(VIRTIO_NET_F_STATUS)) != 0);
  const auto link = [&] {
    std::byte status{0};
    net->read_config(offsetof(virtio_net_config, status), {&status, 1});
    return status == std::byte{VIRTIO_NET_S_LINK_UP};
  };
  CHECK(link());
  peer.reset();
  CHECK(wait_until(host.loop(), [&] { return !link(); }));
  peer.emplace(place("socket"), nothing);
  CHECK(wait_until(host.loop(), link));
}

TEST_CASE("vhost-user: a directory has the tag that it was given", "[virtio][vhost-user]") {
  const TempDirectory place;
  std::vector<std::byte> nothing(kSector);
  const VhostUserPeer peer(place("socket"), nothing);
  FakeDeviceHost host(GuestMemory::Backing::kShared);
  VhostUserSocket backend(host.loop(), vhost_user_fs_role(), place("socket"));
  const auto fs = VhostUser::fs(backend, "work");
  virtio_fs_config config{};
  fs->read_config(0, std::as_writable_bytes(std::span(&config, 1)));
  CHECK(std::string(reinterpret_cast<const char*>(config.tag)) == "work");
  CHECK(config.num_request_queues == 1);
  CHECK(fs->traits().queue_sizes.size() == 2);
}

TEST_CASE("vhost-user: a driver that goes on choosing does not fill the loop or the socket", "[virtio][vhost-user]") {
  Fixture f;
  f.start(feature(VIRTIO_F_VERSION_1) | feature(VIRTIO_BLK_F_CONFIG_WCE));
  CHECK(f.peer_has(VHOST_USER_SET_CONFIG));
  for (int i = 0; i < 1000; ++i) {
    const std::byte value{static_cast<uint8_t>(i & 1)};
    f.block.write_config(offsetof(virtio_blk_config, wce), {&value, 1});
  }
  CHECK(f.peer_has(VHOST_USER_SET_CONFIG, 2));
  f.stop();  // which asks, and has an answer
  CHECK(f.peer->count(VHOST_USER_SET_CONFIG) == 2);
}

TEST_CASE("vhost-user: without F_MQ the first queue of a disk is the only one", "[virtio][vhost-user]") {
  Fixture f;
  f.start();
  DriverQueue second(f.host, {.size = 64, .base = 0x200000});
  bool ended = false;
  f.host.loop().spawn(f.block.serve(1, second.device_side()), [&] { ended = true; });
  CHECK(ended);
  CHECK(f.peer_has(VHOST_USER_SET_VRING_KICK));
}
