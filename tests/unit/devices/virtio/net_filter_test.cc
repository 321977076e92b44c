// Which frames a driver gets.
#include "devices/virtio/net_filter.h"

#include <catch2/catch.hpp>

#include "devices/virtio/spec.h"

using namespace vmm;

namespace {

const MacAddress kOwn{{2, 0, 0, 0, 0, 1}};
const MacAddress kOther{{2, 0, 0, 0, 0, 2}};
const MacAddress kGroup{{1, 0, 0x5e, 0, 0, 1}};

}  // namespace

TEST_CASE("net filter: until the driver says anything, it gets everything", "[virtio][net]") {
  const NetFilter filter;
  CHECK(filter.wants_all());
  CHECK(filter.wants(kOther, kOwn));
}

TEST_CASE("net filter: out of promiscuous mode, own address and broadcast remain", "[virtio][net]") {
  NetFilter filter;
  CHECK(filter.set_mode(VIRTIO_NET_CTRL_RX_PROMISC, false));
  CHECK(filter.wants(kOwn, kOwn));
  CHECK(filter.wants(kBroadcast, kOwn));
  CHECK_FALSE(filter.wants(kOther, kOwn));
  CHECK_FALSE(filter.wants(kGroup, kOwn));
}

TEST_CASE("net filter: tables add addresses, and one that is too long adds all of its kind", "[virtio][net]") {
  NetFilter filter;
  filter.set_mode(VIRTIO_NET_CTRL_RX_PROMISC, false);
  filter.set_tables({{kOther}, false}, {{kGroup}, false});
  CHECK(filter.wants(kOther, kOwn));
  CHECK(filter.wants(kGroup, kOwn));
  filter.set_tables({{}, false}, {{}, true});
  CHECK_FALSE(filter.wants(kOther, kOwn));
  CHECK(filter.wants(kGroup, kOwn));
}

TEST_CASE("net filter: each mode lets its kind through or keeps it out", "[virtio][net]") {
  NetFilter filter;
  filter.set_mode(VIRTIO_NET_CTRL_RX_PROMISC, false);
  filter.set_mode(VIRTIO_NET_CTRL_RX_ALLMULTI, true);
  CHECK(filter.wants(kGroup, kOwn));
  filter.set_mode(VIRTIO_NET_CTRL_RX_NOMULTI, true);
  CHECK_FALSE(filter.wants(kGroup, kOwn));
  filter.set_mode(VIRTIO_NET_CTRL_RX_ALLUNI, true);
  CHECK(filter.wants(kOther, kOwn));
  filter.set_mode(VIRTIO_NET_CTRL_RX_NOUNI, true);
  CHECK_FALSE(filter.wants(kOwn, kOwn));
  filter.set_mode(VIRTIO_NET_CTRL_RX_NOBCAST, true);
  CHECK_FALSE(filter.wants(kBroadcast, kOwn));
  CHECK_FALSE(filter.set_mode(6, true));
}
