// The other end of a `socket=PATH` network: another vmm, or what speaks QEMU's `-netdev stream`.
//
// Whoever comes first listens at PATH, the second connects; nobody has to know which. When the peer goes, the one that
// listened waits for the next, and the one that had connected connects again, or listens in its turn.
#pragma once

#include <memory>
#include <string>

#include "devices/backends/net/stream_net.h"

namespace vmm {

// Throws Error when neither is possible.
std::unique_ptr<NetEndpoint> open_net_socket(EventLoop& loop, const std::string& path);

}  // namespace vmm
