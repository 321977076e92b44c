// The other end of a `user` network: passt (passt.top), a helper process that turns a guest's traffic into ordinary
// sockets of the user who runs it. No privilege is needed.
//
// It is started with one end of a socket pair, sets itself up, goes into the background and from then on lives as long
// as our end is open: whatever becomes of vmm, no passt is left behind. One that dies is started again, after a pause
// that grows while it does not stay.
//
// The guest finds the network that QEMU users know: 10.0.2.15 by DHCP, the host at 10.0.2.2, a name server at 10.0.2.3;
// and IPv6 where the host has it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "devices/backends/net/stream_net.h"

namespace vmm {

// A TCP port of the host that is the guest's.
struct PortForward {
  std::string address = "127.0.0.1";  // where the host listens
  uint16_t host_port = 0;
  uint16_t guest_port = 0;
  bool operator==(const PortForward&) const = default;
};

// Waits until the helper is ready. Throws Error when there is none, with what to install, or when it refuses, with what
// it says. `program` is looked for in PATH.
std::unique_ptr<NetEndpoint> start_passt(EventLoop& loop, const std::vector<PortForward>& forwards,
                                         const std::string& program = "passt");

// What helps when such a port of the host cannot be listened at, for this errno.
std::string fix_for_port(int error, const PortForward& forward);

}  // namespace vmm
