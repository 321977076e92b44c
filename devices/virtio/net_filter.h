// NetFilter: which frames a driver wants to see, by their destination. Virtio 1.2 §5.1.6.5.1, §5.1.6.5.2.
//
// A driver that never says anything gets everything, like one in promiscuous mode. A table that is longer than ours is
// taken for "all": a filter may let too much through (§5.1.6.5.2), never too little.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "devices/backends/net/mac_address.h"

namespace vmm {

class NetFilter {
 public:
  static constexpr size_t kTable = 64;  // addresses of one kind that are remembered

  struct Table {
    std::vector<MacAddress> addresses;
    bool overflowed = false;  // there were more
  };

  // A command of class VIRTIO_NET_CTRL_RX; false when there is none of this number.
  bool set_mode(uint8_t command, bool on);
  void set_tables(Table unicast, Table multicast);

  bool wants(const MacAddress& destination, const MacAddress& own) const;
  bool wants_all() const { return promiscuous_; }

 private:
  bool promiscuous_ = true;
  bool all_multicast_ = false;
  bool all_unicast_ = false;
  bool no_multicast_ = false;
  bool no_unicast_ = false;
  bool no_broadcast_ = false;
  Table unicast_;
  Table multicast_;
};

}  // namespace vmm
