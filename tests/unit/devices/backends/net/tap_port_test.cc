// Opening taps, and what is said when that cannot be.
#include "devices/backends/net/tap_port.h"

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "devices/virtio/spec.h"
#include "tests/support/test_tap.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

std::string refusal(const std::function<void()>& attempt) {
  try {
    attempt();
  } catch (const Error& error) {
    return std::string(error.what()) + "\n" + error.fix();
  }
  return {};
}

}  // namespace

TEST_CASE("tap port: an interface that is not there, or cannot be, is refused with how to make one", "[net][tap]") {
  if (::access("/dev/net/tun", R_OK | W_OK) != 0) {
    WARN("skipped: no access to /dev/net/tun");
    return;
  }
  CHECK_THAT(refusal([] { TapPort::open("no-such-tap", 1); }),
             Contains("cannot use tap 'no-such-tap': there is no such interface") &&
                 Contains("sudo ip tuntap add no-such-tap mode tap user $USER &&"));
  CHECK_THAT(refusal([] { TapPort::open("no-such-tap", 4); }), Contains("multi_queue"));
  CHECK_FALSE(interface_exists("no-such-tap"));  // nor was it made
  CHECK_THAT(refusal([] { TapPort::open("a-name-that-is-too-long", 1); }), Contains("1 to 15 letters"));
  CHECK_THAT(refusal([] { TapPort::open("", 1); }), Contains("1 to 15 letters"));
  CHECK_THAT(refusal([] { TapPort::open("lo", 1); }), Contains("'lo'"));
}

TEST_CASE("tap port: a descriptor that is no tap is refused", "[net][tap]") {
  CHECK_THAT(refusal([] { TapPort::adopt({1000000}); }), Contains("it is not open"));
  const int null = ::open("/dev/null", O_RDWR);
  CHECK_THAT(refusal([&] { TapPort::adopt({null}); }), Contains("it is no tap"));
  ::close(null);
}

TEST_CASE("tap port: descriptors are adopted, with the offloads that the kernel has", "[net][tap]") {
  TestTap tap(2);
  if (!tap.usable()) {
    WARN("skipped: " + tap.why());
    return;
  }
  const TapPort port = TapPort::adopt(tap.release());
  CHECK(port.name == "tap-test");
  REQUIRE(port.queues.size() == 2);
  for (const unsigned bit : {0u + VIRTIO_NET_F_CSUM, 0u + VIRTIO_NET_F_HOST_TSO4, 0u + VIRTIO_NET_F_GUEST_CSUM,
                             0u + VIRTIO_NET_F_GUEST_TSO6}) {
    CHECK((port.offloads & feature(bit)) != 0);
  }
  CHECK((::fcntl(port.queues[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(set_tap_offloads(port.queues[0].get(), port.offloads));
  CHECK(set_tap_offloads(port.queues[0].get(), 0));
  CHECK(set_tap_queue_used(port.queues[1].get(), false));
  CHECK(set_tap_queue_used(port.queues[1].get(), true));
  CHECK_FALSE(set_tap_queue_used(port.queues[1].get(), true));
}
