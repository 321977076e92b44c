// Meeting a back-end at its socket, and what is said of one that is of no use.
#include "devices/backends/vhost/vhost_user_socket.h"

#include <catch2/catch.hpp>
#include <optional>

#include "devices/virtio/vhost_user.h"
#include "tests/support/temp_file.h"
#include "tests/support/vhost_user_peer.h"
#include "tests/support/wait_until.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

using Behaviour = VhostUserPeer::Behaviour;

struct Fixture {
  std::string error_with(Behaviour behaviour) {
    const VhostUserPeer peer(path, disk, std::move(behaviour));
    try {
      const VhostUserSocket socket(loop, vhost_user_block_role(), path);
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  }

  EventLoop loop;
  TempDirectory place;
  const std::string path = place("socket");
  std::vector<std::byte> disk = std::vector<std::byte>(4096);
};

struct CountingClient : VhostUserClient {
  void backend_lost() override { ++lost; }
  void backend_found() override { ++found; }
  unsigned lost = 0, found = 0;
};

}  // namespace

TEST_CASE("vhost-user socket: nobody there is said, with what to do", "[vhost-user]") {
  EventLoop loop;
  const TempDirectory place;
  const auto meet = [&](const std::string& path) { const VhostUserSocket socket(loop, vhost_user_block_role(), path); };
  CHECK_THROWS_WITH(meet(place("none")),
                    Contains("cannot reach vhost-user-blk back-end") && Contains("No such file or directory"));
  CHECK_THROWS_WITH(meet(place(std::string(200, 'x'))), Contains("File name too long"));
  std::vector<std::byte> disk(512);
  { const VhostUserPeer peer(place("dead"), disk); }
  CHECK_THROWS_WITH(meet(place("dead")), Contains("Connection refused"));
}

TEST_CASE("vhost-user socket: one that cannot be used is refused, with the reason", "[vhost-user]") {
  Fixture f;
  CHECK(f.error_with({}).empty());
  CHECK_THAT(f.error_with({.features = feature(VHOST_USER_F_PROTOCOL_FEATURES)}), Contains("no virtio 1.0"));
  CHECK_THAT(f.error_with({.protocol = 0}), Contains("no configuration"));
  CHECK_THAT(f.error_with({.queues = 0}), Contains("0 queues"));
}

TEST_CASE("vhost-user socket: hostile answers end the connection, with the reason", "[vhost-user]") {
  Fixture f;
  const auto answer = [](uint32_t to, const std::function<void(VhostUserPeer&)>& say) {
    Behaviour behaviour;
    behaviour.instead = [to, say](VhostUserPeer& peer, const VhostUserPeer::Message& message) {
      if (message.header.request == to) say(peer);
      return message.header.request == to;
    };
    return behaviour;
  };
  using Peer = VhostUserPeer;
  const auto get_features = [&](const std::function<void(Peer&)>& say) {
    return f.error_with(answer(VHOST_USER_GET_FEATURES, say));
  };
  const uint64_t value = ~uint64_t{0};
  CHECK_THAT(get_features([](Peer& peer) { peer.hang_up(); }), Contains("closed the connection"));
  CHECK_THAT(get_features([&](Peer& peer) { peer.reply(VHOST_USER_GET_QUEUE_NUM, payload_of(value)); }),
             Contains("was not asked"));
  const std::vector<std::byte> whole = payload_of(value);
  CHECK_THAT(get_features([&](Peer& peer) { peer.reply(VHOST_USER_GET_FEATURES, std::span(whole).first(7)); }),
             Contains("is none"));
  CHECK_THAT(get_features([&](Peer& peer) { peer.reply(VHOST_USER_GET_FEATURES, {}); }), Contains("is none"));
  CHECK_THAT(get_features([&](Peer& peer) { peer.send_raw(std::vector<std::byte>(5000, std::byte{0xff})); }),
             Contains("no reply"));
  CHECK_THAT(get_features([&](Peer& peer) { peer.reply(VHOST_USER_GET_FEATURES, payload_of(value), 0); }),
             Contains("more descriptors"));
  CHECK_THAT(get_features([&](Peer& peer) {
               const auto message =
                   encode_vhost_user(VHOST_USER_GET_FEATURES, VhostUserHeader::kReply, payload_of(value));
               for (const std::byte& byte : message) peer.send_raw({&byte, 1}, 0);
             }),
             Contains("more descriptors"));
  CHECK_THAT(f.error_with(answer(VHOST_USER_GET_CONFIG, [](Peer& peer) { peer.reply(VHOST_USER_GET_CONFIG, {}); })),
             Contains("configuration is none"));
}

TEST_CASE("vhost-user socket: one that says nothing is given up", "[vhost-user]") {
  Fixture f;
  Behaviour silent;
  silent.instead = [](VhostUserPeer&, const VhostUserPeer::Message&) { return true; };
  CHECK_THAT(f.error_with(silent), Contains("did not answer for 4 s"));
}

TEST_CASE("vhost-user socket: one that is gone is looked for, and has to be as good", "[vhost-user]") {
  Fixture f;
  Behaviour good, lesser;
  lesser.features &= ~feature(VIRTIO_BLK_F_FLUSH);
  std::optional<VhostUserPeer> peer(std::in_place, f.path, f.disk, good);
  VhostUserSocket socket(f.loop, vhost_user_block_role(), f.path);
  CountingClient client;
  socket.attach(&client);
  REQUIRE(socket.channel());
  peer.reset();
  CHECK(wait_until(f.loop, [&] { return client.lost == 1; }));
  CHECK_FALSE(socket.channel());

  peer.emplace(f.path, f.disk, lesser);
  CHECK(wait_until(f.loop, [&] { return peer->count(VHOST_USER_GET_CONFIG) >= 2; }));
  CHECK_FALSE(socket.channel());
  peer.reset();

  f.disk.resize(8192);
  peer.emplace(f.path, f.disk, good);
  CHECK(wait_until(f.loop, [&] { return client.found == 1; }));
  CHECK(socket.channel());
  uint64_t capacity = 0;
  std::memcpy(&capacity, socket.abilities().config.data(), sizeof capacity);
  CHECK(capacity == 16);
}
