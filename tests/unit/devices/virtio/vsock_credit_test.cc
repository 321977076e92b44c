// Counters that wrap, shrink and lie.
#include "devices/virtio/vsock_credit.h"

#include <catch2/catch.hpp>

using vmm::VsockCredit;

TEST_CASE("vsock credit: what is on its way counts against the buffer", "[virtio][vsock]") {
  VsockCredit credit;
  REQUIRE(credit.update(1000, 0));
  credit.sent(600);
  CHECK(credit.available() == 400);
  REQUIRE(credit.update(1000, 500));
  CHECK(credit.available() == 900);
}

TEST_CASE("vsock credit: a buffer below what is on its way leaves none", "[virtio][vsock]") {
  VsockCredit credit;
  REQUIRE(credit.update(1000, 0));
  credit.sent(600);
  REQUIRE(credit.update(100, 0));
  CHECK(credit.available() == 0);
  REQUIRE(credit.update(100, 550));
  CHECK(credit.available() == 50);
}

TEST_CASE("vsock credit: nobody has taken what was never sent", "[virtio][vsock]") {
  VsockCredit credit;
  REQUIRE(credit.update(1000, 0));
  credit.sent(600);
  CHECK_FALSE(credit.update(1000, 601));
  CHECK_FALSE(credit.update(1000, 0x7fffffff));
  CHECK_FALSE(credit.update(1000, 0x80000001));
  CHECK(credit.update(1000, 600));
}

TEST_CASE("vsock credit: the counters wrap", "[virtio][vsock]") {
  VsockCredit credit;
  constexpr uint32_t kStep = uint32_t{1} << 29;
  uint32_t sent = 0;
  for (int i = 0; i < 8; ++i) {
    REQUIRE(credit.update(UINT32_MAX, sent));
    credit.sent(kStep);
    sent += kStep;
  }
  CHECK(sent == 0);
  REQUIRE(credit.update(UINT32_MAX, sent));
  CHECK(credit.in_flight() == 0);
}

TEST_CASE("vsock credit: packets that overtook each other are no mistake", "[virtio][vsock]") {
  VsockCredit credit;
  REQUIRE(credit.update(1000, 0));
  credit.sent(600);
  REQUIRE(credit.update(1000, 500));
  REQUIRE(credit.update(1000, 400));
  CHECK(credit.in_flight() == 100);
}

TEST_CASE("vsock credit: no driver gets us to have gigabytes on their way", "[virtio][vsock]") {
  VsockCredit credit;
  REQUIRE(credit.update(UINT32_MAX, 0));
  CHECK(credit.available() == VsockCredit::kMost);
}
