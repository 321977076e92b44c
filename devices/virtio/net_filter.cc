// The receive filter: modes and tables as a driver's commands set them; see net_filter.h.
#include "devices/virtio/net_filter.h"

#include <algorithm>
#include <utility>

#include "devices/virtio/spec.h"

namespace vmm {

namespace {

bool holds(const NetFilter::Table& table, const MacAddress& address) {
  return table.overflowed || std::ranges::find(table.addresses, address) != table.addresses.end();
}

}  // namespace

bool NetFilter::set_mode(uint8_t command, bool on) {
  switch (command) {
    case VIRTIO_NET_CTRL_RX_PROMISC:
      promiscuous_ = on;
      return true;
    case VIRTIO_NET_CTRL_RX_ALLMULTI:
      all_multicast_ = on;
      return true;
    case VIRTIO_NET_CTRL_RX_ALLUNI:
      all_unicast_ = on;
      return true;
    case VIRTIO_NET_CTRL_RX_NOMULTI:
      no_multicast_ = on;
      return true;
    case VIRTIO_NET_CTRL_RX_NOUNI:
      no_unicast_ = on;
      return true;
    case VIRTIO_NET_CTRL_RX_NOBCAST:
      no_broadcast_ = on;
      return true;
    default:
      return false;
  }
}

void NetFilter::set_tables(Table unicast, Table multicast) {
  unicast_ = std::move(unicast);
  multicast_ = std::move(multicast);
}

bool NetFilter::wants(const MacAddress& destination, const MacAddress& own) const {
  if (promiscuous_) return true;
  if (destination == kBroadcast) return !no_broadcast_;
  if (destination.is_multicast()) return !no_multicast_ && (all_multicast_ || holds(multicast_, destination));
  return !no_unicast_ && (all_unicast_ || destination == own || holds(unicast_, destination));
}

}  // namespace vmm
