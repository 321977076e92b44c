// virtio-rng fills what it is given, within bounds.
#include "devices/virtio/rng.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/support/driver_queue.h"

using namespace vmm;
using namespace vmm::test;

namespace {

struct Fixture {
  Fixture() { host.loop().spawn(rng.serve(0, driver.device_side())); }
  FakeDeviceHost host;
  VirtioRng rng;
  DriverQueue driver{host};
};

}  // namespace

TEST_CASE("virtio-rng: a buffer comes back full of entropy", "[virtio][rng]") {
  Fixture f;
  f.driver.chain().writable(100).writable(900).publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 1000);
  const auto bytes = f.driver.bytes(used->writable[1]);
  CHECK(std::ranges::count(bytes, std::byte{0}) < 30);
}

TEST_CASE("virtio-rng: a request is capped at 64 KiB", "[virtio][rng]") {
  Fixture f;
  f.driver.chain().writable(1 << 20).publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 65536);
}

TEST_CASE("virtio-rng: a readable buffer is returned untouched", "[virtio][rng]") {
  Fixture f;
  f.driver.chain().readable(std::string("not for writing")).publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 0);
}
