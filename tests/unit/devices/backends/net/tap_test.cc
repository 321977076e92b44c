// A tap, and what becomes of the link. Where no tap can be made, a socket that keeps frames apart does as well.
#include "devices/backends/net/tap.h"

#include <sys/socket.h>

#include <catch2/catch.hpp>

#include "devices/virtio/spec.h"
#include "tests/support/fake_net_backend.h"
#include "tests/support/net_end.h"
#include "tests/support/test_tap.h"
#include "tests/support/wait_until.h"

using namespace vmm;
using namespace vmm::test;

namespace {

const std::string kOne("\x52\x54\0\0\0\x01", 6);
const std::string kTwo("\x52\x54\0\0\0\x02", 6);
const std::string kNoHeader(kNetHeader, '\0');

// A tap whose other side is a socket.
struct Pretended {
  Pretended() {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    TapPort port{.name = "pretended"};
    port.queues.emplace_back(ends[0]);
    wire = UniqueFd(ends[1]);
    tap.emplace(loop, std::move(port), Tap::OnLoss::kStayDown);
    tap->attach(&client);
  }
  EventLoop loop;
  CountingClient client;
  UniqueFd wire;
  std::optional<Tap> tap;
};

}  // namespace

TEST_CASE("tap: a frame that has not come yet is told of when it has", "[net][tap]") {
  Pretended p;
  CHECK(receive(*p.tap) == "nothing");
  p.loop.run_ready();
  CHECK(p.client.arrivals == 0);
  const std::string frame = kNoHeader + ethernet(kOne, kTwo, 100);
  REQUIRE(::write(p.wire.get(), frame.data(), frame.size()) > 0);
  CHECK(wait_until(p.loop, [&] { return p.client.arrivals == 1; }));
  CHECK(receive(*p.tap) == frame);
}

TEST_CASE("tap: a flood is taken in batches", "[net][tap]") {
  Pretended p;
  const std::string frame = kNoHeader + ethernet(kOne, kTwo, 60);
  size_t there = 0;
  while (::write(p.wire.get(), frame.data(), frame.size()) > 0) ++there;
  REQUIRE(there > 64);
  size_t taken = 0;
  while (receive(*p.tap) != "nothing") ++taken;
  CHECK(taken == 64);
  CHECK(wait_until(p.loop, [&] { return p.client.arrivals == 1; }));
  CHECK(receive(*p.tap) == frame);
}

TEST_CASE("tap: while it takes no more, frames wait for room, without spinning", "[net][tap]") {
  Pretended p;
  const std::string frame = kNoHeader + ethernet(kOne, kTwo, 1500);
  size_t sent = 0;
  while (send(*p.tap, frame)) ++sent;
  CHECK(sent > 0);
  const size_t ran = p.loop.run_ready();
  CHECK(p.client.rooms == 0);
  CHECK(ran <= 1);
  std::string ignored(2000, '\0');
  while (::read(p.wire.get(), ignored.data(), ignored.size()) > 0) {
  }
  CHECK(wait_until(p.loop, [&] { return p.client.rooms == 1; }));
  CHECK(send(*p.tap, frame));
}

TEST_CASE("tap: a real one passes frames both ways", "[net][tap]") {
  TestTap interface;
  if (!interface.usable()) {
    WARN("skipped: " + interface.why());
    return;
  }
  EventLoop loop;
  CountingClient client;
  Tap tap(loop, TapPort::adopt(interface.release()), Tap::OnLoss::kStayDown);
  tap.attach(&client);
  CHECK(tap.link_up());
  CHECK(tap.describe() == "tap-test (tap)");
  const std::string out = ethernet(kOne, kTwo, 100, 'o');
  CHECK(send(tap, kNoHeader + out));
  CHECK(interface.receive() == out);
  const std::string in = ethernet(kTwo, kOne, 200, 'i');
  interface.send(in);
  std::string received;
  while (received != "nothing" && received.find(in) == received.npos) received = receive(tap);
  CHECK(received.substr(kNetHeader) == in);
}

TEST_CASE("tap: frames that the kernel does not believe are dropped, and the next are not", "[net][tap]") {
  TestTap interface;
  if (!interface.usable()) {
    WARN("skipped: " + interface.why());
    return;
  }
  EventLoop loop;
  Tap tap(loop, TapPort::adopt(interface.release()), Tap::OnLoss::kStayDown);
  virtio_net_hdr_v1 header{};
  header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
  header.csum_start = 0xfff0;
  const std::string lie(reinterpret_cast<const char*>(&header), sizeof header);
  CHECK(send(tap, lie + ethernet(kOne, kTwo, 100)));
  CHECK(tap.stats().dropped == 1);
  CHECK(tap.link_up());
  CHECK(send(tap, kNoHeader + ethernet(kOne, kTwo, 100)));
  CHECK(tap.stats().dropped == 1);
}

TEST_CASE("tap: an interface that goes down takes the link with it, and brings it back", "[net][tap]") {
  TestTap interface;
  if (!interface.usable()) {
    WARN("skipped: " + interface.why());
    return;
  }
  EventLoop loop;
  CountingClient client;
  Tap tap(loop, TapPort::adopt(interface.release()), Tap::OnLoss::kStayDown);
  tap.attach(&client);
  receive(tap);
  interface.set_up(false);
  const std::string frame = kNoHeader + ethernet(kOne, kTwo, 100);
  CHECK(send(tap, frame));  // dropped: this is how an interface of another namespace is found to be down
  CHECK_FALSE(tap.link_up());
  CHECK(client.changes == 1);
  loop.run_ready();
  CHECK_FALSE(tap.link_up());
  interface.set_up(true);
  CHECK(wait_until(loop, [&] { return tap.link_up(); }));
  CHECK(client.changes == 2);
  while (!interface.receive().empty()) {
  }
  CHECK(send(tap, frame));
  CHECK(interface.receive() == frame.substr(kNetHeader));
}

TEST_CASE("tap: one that is down from the start is a link that is down", "[net][tap]") {
  TestTap interface;
  if (!interface.usable()) {
    WARN("skipped: " + interface.why());
    return;
  }
  interface.set_up(false);
  EventLoop loop;
  Tap tap(loop, TapPort::adopt(interface.release()), Tap::OnLoss::kStayDown);
  CHECK_FALSE(tap.link_up());
  // Nothing keeps the loop busy; but it hears of changes of the host's other interfaces.
  CHECK(wait_until(loop, [&] { return loop.run_ready() == 0; }));
  CHECK_FALSE(tap.link_up());
  interface.set_up(true);
  CHECK(wait_until(loop, [&] { return tap.link_up(); }));
}

TEST_CASE("tap: an interface that is deleted is a link that is down, and nothing worse", "[net][tap]") {
  TestTap interface;
  if (!interface.usable()) {
    WARN("skipped: " + interface.why());
    return;
  }
  EventLoop loop;
  CountingClient client;
  Tap tap(loop, TapPort::adopt(interface.release()), Tap::OnLoss::kStayDown);
  tap.attach(&client);
  CHECK(receive(tap) != "");
  while (receive(tap) != "nothing") {
  }
  interface.remove();
  CHECK(wait_until(loop, [&] { return receive(tap) == "nothing" && !tap.link_up(); }));
  CHECK(client.changes == 1);
  CHECK(send(tap, kNoHeader + ethernet(kOne, kTwo, 100)));
  CHECK(wait_until(loop, [&] { return loop.run_ready() == 0; }));  // changes of other interfaces are heard of, too
}

TEST_CASE("tap: queues are used as the driver says", "[net][tap]") {
  TestTap interface(2);
  if (!interface.usable()) {
    WARN("skipped: " + interface.why());
    return;
  }
  EventLoop loop;
  CountingClient client;
  Tap tap(loop, TapPort::adopt(interface.release()), Tap::OnLoss::kStayDown);
  tap.attach(&client);
  CHECK(tap.queues() == 2);
  CHECK(receive(tap, 1) == "nothing");
  CHECK(send(tap, kNoHeader + ethernet(kOne, kTwo, 100), 1));
  CHECK(interface.receive().empty());
  tap.configure(tap.offloads(), 2);
  CHECK(send(tap, kNoHeader + ethernet(kOne, kTwo, 100), 1));
  CHECK(interface.receive().size() == 100);
  tap.configure(0, 1);
  CHECK(tap.link_up());
}
