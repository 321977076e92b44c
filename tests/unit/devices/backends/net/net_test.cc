// The text of --net.
#include "devices/backends/net/net.h"

#include <catch2/catch.hpp>

#include "vmm/core/error.h"

using namespace vmm;

TEST_CASE("net: each kind is understood", "[net]") {
  CHECK(NetConfig::parse("none").kind == NetConfig::Kind::kNone);
  CHECK(NetConfig::parse("user").kind == NetConfig::Kind::kUser);
  const NetConfig tap = NetConfig::parse("tap=tap0,queues=4,filter=on,mac=02:00:00:00:00:07");
  CHECK(tap.kind == NetConfig::Kind::kTap);
  CHECK(tap.name == "tap0");
  CHECK(tap.queues == 4);
  CHECK(tap.filter);
  CHECK(mac_for(tap, 3).text() == "02:00:00:00:00:07");
  CHECK(NetConfig::parse("tap-fd=3:7").fds == std::vector<int>{3, 7});
  const NetConfig socket = NetConfig::parse("socket=/run/a,,b,pcap=net.pcap");
  CHECK(socket.kind == NetConfig::Kind::kSocket);
  CHECK(socket.name == "/run/a,b");
  CHECK(socket.pcap == "net.pcap");
}

TEST_CASE("net: ports are forwarded from this host alone, unless an address says otherwise", "[net]") {
  const NetConfig config = NetConfig::parse("user,fwd=2222:22,fwd=0.0.0.0:8080:80,fwd=[::1]:53:53");
  CHECK(config.forwards == std::vector<PortForward>{{"127.0.0.1", 2222, 22}, {"0.0.0.0", 8080, 80}, {"::1", 53, 53}});
  CHECK(config.describe() == "user, 127.0.0.1:2222 to 22, 0.0.0.0:8080 to 80, ::1:53 to 53");
}

TEST_CASE("net: what means nothing is refused, with what would", "[net]") {
  const std::string text =
      GENERATE("", ",", "users", "user=x", "none=x", "tap", "tap=", "socket=", "tap-fd=", "tap-fd=x", "tap-fd=1",
               "tap-fd=3:3", "tap-fd=3,queues=2", "tap=a,queues=0", "tap=a,queues=65", "user,queues=2", "user,",
               "user,fwd", "user,fwd=", "user,fwd=22", "user,fwd=0:22", "user,fwd=2222:0", "user,fwd=2222:65536",
               "user,fwd=host:2222:22", "user,fwd=2222:22x", "tap=a,fwd=2222:22", "user,mac=1",
               "user,mac=01:00:00:00:00:00", "user,mac=00:00:00:00:00:00", "user,filter=maybe",
               "user,pcap=", "user,speed=10", "vhost-user", "vhost-user=", "vhost-user=x,pcap=f",
               "vhost-user=x,filter=on", "vhost-user=x,queues=2", "vhost-user=x,fwd=1:2", "none,mac=02:00:00:00:00:01");
  CAPTURE(text);
  try {
    NetConfig::parse(text);
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).starts_with("--net: "));
    CHECK_FALSE(error.fix().empty());
  }
}

TEST_CASE("net: a forward that cannot be is refused with what is wrong in it", "[net]") {
  const auto refusal = [](const std::string& forward) -> std::string {
    try {
      NetConfig::parse("user,fwd=" + forward);
    } catch (const Error& error) {
      return std::string(error.what()) + "\n" + error.fix();
    }
    return "accepted";
  };
  using Catch::Matchers::Contains;
  CHECK_THAT(refusal("70000:22"), Contains("ports go from 1 to 65535, not 70000"));
  CHECK_THAT(refusal("2222:0"), Contains("ports go from 1 to 65535, not 0"));
  CHECK_THAT(refusal("localhost:2222:22"), Contains("'localhost' is no address") && Contains("fwd=127.0.0.1:2222:22"));
  CHECK_THAT(refusal("udp:127.0.0.1:53:53"), Contains("only TCP ports are forwarded"));
  CHECK_THAT(refusal("tcp::2222-:22"), Contains("TCP without being said") && Contains("\nfwd=2222:22"));
  CHECK_THAT(refusal("2222"), Contains("no pair of ports"));
}

TEST_CASE("net: a card of another process has a socket and an address", "[net]") {
  const NetConfig config = NetConfig::parse("vhost-user=/run/s,mac=02:00:00:00:00:01");
  CHECK(config.kind == NetConfig::Kind::kVhostUser);
  CHECK(config.name == "/run/s");
  CHECK(config.mac->text() == "02:00:00:00:00:01");
  CHECK(config.describe() == "vhost-user /run/s");
}

TEST_CASE("net: cards have addresses of their own, the same ones each time where others are not in reach", "[net]") {
  const NetConfig user = NetConfig::parse("user"), tap = NetConfig::parse("tap=tap0");
  CHECK(mac_for(user, 0).text() == "52:54:00:12:34:56");
  CHECK(mac_for(user, 1) != mac_for(user, 0));
  CHECK(mac_for(tap, 0) == mac_for(tap, 0));
  CHECK(mac_for(tap, 0) != mac_for(NetConfig::parse("tap=tap1"), 0));
  const NetConfig socket = NetConfig::parse("socket=x");
  CHECK(mac_for(socket, 0) != mac_for(socket, 0));
  CHECK_FALSE(mac_for(socket, 0).is_multicast());
}
