// Frames in a stream, cut anywhere, and peers that come and go.
#include "devices/backends/net/stream_net.h"

#include <arpa/inet.h>

#include <catch2/catch.hpp>

#include "tests/support/descriptors.h"
#include "tests/support/fake_net_backend.h"
#include "tests/support/net_end.h"
#include "tests/support/wait_until.h"

using namespace vmm;
using namespace vmm::test;

namespace {

const std::string kOne("\x52\x54\0\0\0\x01", 6);
const std::string kTwo("\x52\x54\0\0\0\x02", 6);
const std::string kNoHeader(kNetHeader, '\0');

struct TestEndpoint : NetEndpoint {
  std::string describe() const override { return "test"; }
  void start(std::function<void(UniqueFd)> callback) override { on_peer = std::move(callback); }
  void peer_lost() override { ++losses; }
  std::function<void(UniqueFd)> on_peer;
  unsigned losses = 0;
};

struct Fixture {
  Fixture() : endpoint(new TestEndpoint), net(loop, std::unique_ptr<NetEndpoint>(endpoint)) {
    net.attach(&client);
    connect();
  }
  void connect() {
    SocketPair pair;
    wire = std::move(pair.theirs);
    endpoint->on_peer(std::move(pair.ours));
  }
  void write(const std::string& bytes) const {
    REQUIRE(::write(wire.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }

  EventLoop loop;
  CountingClient client;
  TestEndpoint* endpoint;
  StreamNet net;
  UniqueFd wire;
};

std::string framed(const std::string& frame) {
  const uint32_t length = htonl(static_cast<uint32_t>(frame.size()));
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + frame;
}

}  // namespace

TEST_CASE("stream net: frames go out behind their lengths, all of a turn in one write", "[net]") {
  Fixture f;
  const std::string frame = ethernet(kOne, kTwo, 60);
  CHECK(send(f.net, kNoHeader + frame));
  CHECK(send(f.net, kNoHeader + frame));
  CHECK(read_available(f.wire).empty());
  f.loop.run_ready();
  CHECK(read_available(f.wire) == framed(frame) + framed(frame));
}

TEST_CASE("stream net: frames come in however the stream is cut", "[net]") {
  Fixture f;
  const std::string one = ethernet(kOne, kTwo, 60, '1'), two = ethernet(kOne, kTwo, 1514, '2');
  const std::string stream = framed(one) + framed(two) + framed(one);
  const size_t cut = GENERATE(1u, 3u, 4u, 5u, 63u, 64u, 66u, 700u, 1582u, 1600u);
  CHECK(receive(f.net) == "nothing");
  f.write(stream.substr(0, cut));
  std::vector<std::string> frames;
  const auto take = [&] {
    for (std::string frame; (frame = receive(f.net)) != "nothing";) frames.push_back(frame);
    return frames.size();
  };
  CHECK(wait_until(f.loop, [&] { return f.client.arrivals == 2; }));  // one was for the new peer
  take();
  f.write(stream.substr(cut));
  CHECK(wait_until(f.loop, [&] { return take() == 3; }));
  CHECK(frames == std::vector<std::string>{kNoHeader + one, kNoHeader + two, kNoHeader + one});
}

TEST_CASE("stream net: the longest frame passes, a longer one ends the peer", "[net]") {
  Fixture f;
  const std::string longest(kMaxFrame - kNetHeader, 'x');
  f.write(framed(longest));
  CHECK(wait_until(f.loop, [&] { return receive(f.net) == kNoHeader + longest; }));
  f.write(std::string("\x00\x01\x40\x00", 4));
  CHECK(wait_until(f.loop, [&] { return receive(f.net) == "nothing" && !f.net.link_up(); }));
  CHECK(f.endpoint->losses == 1);
}

TEST_CASE("stream net: a peer that does not read makes frames wait, without spinning", "[net]") {
  Fixture f;
  const std::string frame = ethernet(kOne, kTwo, 1514);
  size_t sent = 0;
  while (send(f.net, kNoHeader + frame)) {
    ++sent;
    f.loop.run_ready();
    REQUIRE(sent < 10000);
  }
  CHECK(f.loop.run_ready() <= 1);
  CHECK(f.client.rooms == 0);
  std::string stream;
  CHECK(wait_until(f.loop, [&] {
    stream += read_available(f.wire);
    return f.client.rooms == 1 && stream.size() == sent * framed(frame).size();
  }));
  CHECK(stream.substr(stream.size() - frame.size()) == frame);
  CHECK(send(f.net, kNoHeader + frame));
}

TEST_CASE("stream net: a peer that goes takes the link with it, and another one brings it back", "[net]") {
  Fixture f;
  CHECK(f.net.link_up());
  CHECK(receive(f.net) == "nothing");
  f.write(framed(ethernet(kOne, kTwo, 100)).substr(0, 50));
  f.wire = UniqueFd();
  CHECK(wait_until(f.loop, [&] { return receive(f.net) == "nothing" && !f.net.link_up(); }));
  CHECK(f.endpoint->losses == 1);
  CHECK(f.client.changes == 2);
  CHECK(send(f.net, kNoHeader + ethernet(kOne, kTwo, 60)));
  CHECK(f.net.stats().dropped == 1);

  f.connect();
  CHECK(f.net.link_up());
  CHECK(f.client.changes == 3);
  const std::string frame = ethernet(kOne, kTwo, 60);
  f.write(framed(frame));
  CHECK(wait_until(f.loop, [&] { return receive(f.net) == kNoHeader + frame; }));
  CHECK(send(f.net, kNoHeader + frame));
  f.loop.run_ready();
  CHECK(read_available(f.wire) == framed(frame));
}

TEST_CASE("stream net: a peer that goes while frames wait for it is noticed by them", "[net]") {
  Fixture f;
  const std::string frame = ethernet(kOne, kTwo, 1514);
  while (send(f.net, kNoHeader + frame)) f.loop.run_ready();
  f.wire = UniqueFd();
  CHECK(wait_until(f.loop, [&] { return f.client.rooms > 0; }));
  CHECK(send(f.net, kNoHeader + frame));
  CHECK_FALSE(f.net.link_up());
}
