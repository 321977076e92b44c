// NetConfig: what `--net` says. open_net(): the network it names.
//
//   user[,fwd=[ADDRESS:]HOSTPORT:GUESTPORT]...   through passt, without privileges; ADDRESS is 127.0.0.1
//   tap=NAME[,queues=N]                          an interface that is there
//   tap-fd=N[:N]...                              its queues, opened by who started vmm
//   socket=PATH                                  another vmm, or QEMU's -netdev stream
//   vhost-user=SOCKET                            a card that another process serves; of the options below only mac
//   none
//
// and any of [,mac=XX:XX:XX:XX:XX:XX][,filter=on|off][,pcap=FILE]. A comma in a name is doubled, as for QEMU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/backends/net/mac_address.h"
#include "devices/backends/net/net_backend.h"
#include "devices/backends/net/passt.h"
#include "vmm/core/event_loop.h"

namespace vmm {

struct NetConfig {
  enum class Kind { kNone, kUser, kTap, kTapFd, kSocket, kVhostUser };

  Kind kind = Kind::kNone;
  std::string name;      // of the tap, or a socket's path
  std::vector<int> fds;  // kTapFd
  uint16_t queues = 1;   // kTap
  bool filter = false;   // the guest may send from its own address only
  std::optional<MacAddress> mac;
  std::vector<PortForward> forwards;  // kUser
  std::string pcap;                   // empty: no copy

  // Throws Error for what it does not understand.
  static NetConfig parse(std::string_view text);
  std::string describe() const;  // "user, 127.0.0.1:2222 to 22"
};

// Throws Error when it cannot be used as asked. Not for kNone and kVhostUser.
std::unique_ptr<NetBackend> open_net(EventLoop& loop, const NetConfig& config);

// The address that was asked for, or one of ours: always the same for the card with this number of a `user` network,
// which no other machine shares; the same for a tap of this name on this host; else another one each time.
MacAddress mac_for(const NetConfig& config, size_t number);

}  // namespace vmm
