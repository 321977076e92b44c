// TapPort: a tap interface of the host, opened: one descriptor for each queue, set up to carry the header of
// virtio-net. Linux, Documentation/networking/tuntap.rst.
//
// Frames then pass with checksums and segmentation left to whoever can do them best, as far as this host's kernel knows
// how: it is asked. An interface is never created here, only used: it is there already, up or not, and belongs to who
// runs vmm, or its descriptor was opened by who started vmm.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vmm/core/fd.h"

namespace vmm {

struct TapPort {
  std::string name;
  std::vector<UniqueFd> queues;
  uint64_t offloads = 0;  // as NetBackend::offloads()
  uint16_t mtu = 0;       // 0: not known

  // Both throw Error. The descriptors are taken over.
  static TapPort open(const std::string& name, size_t queues);
  static TapPort adopt(const std::vector<int>& fds);
};

// Whether there is an interface of this name now.
bool interface_exists(const std::string& name);

// What the guest's driver takes (VIRTIO_NET_F_GUEST_*), for all queues of a tap. False when the kernel refuses.
bool set_tap_offloads(int fd, uint64_t guest_offloads);
// Whether a queue takes part. False when the kernel refuses.
bool set_tap_queue_used(int fd, bool used);

}  // namespace vmm
