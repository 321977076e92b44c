// virtio-rng: entropy from the host's kernel. Virtio 1.2 §5.4.
//
// The smallest whole device, and so the one to copy for a new one: a name, its traits, one loop over one queue. It
// has no configuration and no state.
#pragma once

#include "devices/virtio/virtio_device.h"

namespace vmm {

class VirtioRng : public VirtioDevice {
 public:
  std::string name() const override { return "virtio-rng"; }
  VirtioTraits traits() const override;
  Task<void> serve(size_t index, Virtqueue& queue) override;
};

}  // namespace vmm
