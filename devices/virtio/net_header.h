// What a driver says about a frame that it sends, checked before the host's kernel sees it. Virtio 1.2 §5.1.6.2.
//
// The kernel has had faults of its own here (CVE-2024-41090), and another machine may be the one that reads the frame:
// so what was not negotiated or does not lie inside the frame is refused, and what has no meaning is cleared.
#pragma once

#include <cstddef>
#include <cstdint>

#include "devices/virtio/spec.h"

namespace vmm {

// Clears what the driver should not have set. False: the frame, of `length` bytes, cannot be sent like this.
bool clean_header(virtio_net_hdr_v1& header, size_t length, uint64_t features);

// Whether a set of features of virtio-net is complete in itself (§5.1.3.1).
bool net_features_agree(uint64_t features);

}  // namespace vmm
