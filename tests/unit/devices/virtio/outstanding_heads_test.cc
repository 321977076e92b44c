// What is under way in a ring, told from the two sides of it.
#include "devices/virtio/outstanding_heads.h"

#include <catch2/catch.hpp>

#include "tests/support/driver_queue.h"

using namespace vmm;
using namespace vmm::test;

namespace {

std::optional<std::vector<uint16_t>> only(std::vector<uint16_t> heads) { return heads; }

// A ring of four, whose other side is played by hand.
struct Fixture {
  void give(unsigned head) { driver.publish_head(static_cast<uint16_t>(head)); }
  void take_back(uint32_t head) {
    const uint64_t ring = driver.config().used.value;
    host.memory().write_value(GuestAddress{ring + 4 + 8u * (used % 4)}, head);
    set_used_index(static_cast<uint16_t>(used + 1));
  }
  void set_used_index(uint16_t index) {
    used = index;
    host.memory().write_value(GuestAddress{driver.config().used.value + 2}, used);
  }
  uint16_t available_at(uint16_t slot) const {
    return host_memory().read<uint16_t>({driver.config().available.value + 4 + 2u * slot}).value();
  }
  const GuestMemory& host_memory() const { return driver_memory; }

  FakeDeviceHost host;
  const GuestMemory& driver_memory = host.memory();
  DriverQueue driver{host, {.size = 4}};
  OutstandingHeads heads{driver.device_side()};
  uint16_t used = 0;
};

}  // namespace

TEST_CASE("outstanding heads: those are left that did not come back, in whatever order the others did") {
  Fixture f;
  for (const unsigned head : {0u, 1u, 2u, 3u}) f.give(head);
  CHECK(f.heads.observe() == false);
  f.take_back(2);
  f.take_back(0);
  CHECK(f.heads.observe() == true);
  f.give(2);
  CHECK(f.heads.heads() == only({1, 2, 3}));
  CHECK(f.heads.used_index() == 2);
}

TEST_CASE("outstanding heads: the next to be taken are those, and an order that fits stays") {
  Fixture f;
  for (const unsigned head : {3u, 1u, 0u, 2u}) f.give(head);
  f.take_back(0);
  f.heads.make_next();  // slots 1 to 3 had 1, 0, 2
  CHECK(f.available_at(1) == 1);
  CHECK(f.available_at(2) == 2);
  CHECK(f.available_at(3) == 3);

  Fixture ordered;
  for (const unsigned head : {3u, 1u, 0u, 2u}) ordered.give(head);
  ordered.take_back(3);
  ordered.heads.make_next();
  CHECK(ordered.available_at(1) == 1);
  CHECK(ordered.available_at(2) == 0);
  CHECK(ordered.available_at(3) == 2);
}

TEST_CASE("outstanding heads: over many turns of the ring, and of its indices") {
  Fixture f;
  f.give(3);  // stays out all the time
  for (unsigned i = 0; i < 70'000; ++i) {
    f.give(i % 3);
    f.take_back(i % 3);
    if (i % 2 == 0) f.heads.observe();
  }
  CHECK(f.heads.heads() == only({3}));
}

TEST_CASE("outstanding heads: what was overwritten unseen is not known, until the ring is empty") {
  Fixture f;
  f.give(3);
  for (int i = 0; i < 9; ++i) {
    f.give(0);
    f.take_back(0);
  }
  CHECK(f.heads.heads() == std::nullopt);
  const uint16_t before = f.available_at(0);
  f.heads.make_next();
  CHECK(f.available_at(0) == before);
  f.take_back(3);
  CHECK(f.heads.heads() == only({}));
  f.give(1);
  CHECK(f.heads.heads() == only({1}));
}

TEST_CASE("outstanding heads: what no driver and no device would write is not believed") {
  Fixture f;
  const auto spoil = GENERATE(0, 1, 2, 3, 4);
  f.give(2);
  f.give(0);
  if (spoil == 0) f.give(0);
  if (spoil == 1) f.give(4);
  if (spoil == 2) f.take_back(1);
  if (spoil == 3) f.take_back(0xffffffff);
  if (spoil == 4) f.set_used_index(0x8000);
  f.heads.make_next();
  CHECK(f.heads.heads() == std::nullopt);
}
