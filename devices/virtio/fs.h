// virtio-fs: a directory of the host, for `mount -t virtiofs TAG DIR`. Virtio 1.2 §5.11.
//
// The device only carries: a chain's readable buffers are a FUSE request, its writable ones the place of the answer,
// and the backend does the rest. There is one queue of each kind, requests and those that may overtake them (forgetting
// a file, giving up a request), and one backend behind both.
#pragma once

#include <cstddef>
#include <string>

#include "devices/backends/share/share_backend.h"
#include "devices/virtio/virtio_device.h"

namespace vmm {

class VirtioFs : public VirtioDevice {
 public:
  explicit VirtioFs(ShareBackend& backend) : backend_(backend) {}

  std::string name() const override { return "virtio-fs " + backend_.tag(); }
  VirtioTraits traits() const override;
  void read_config(size_t offset, std::span<std::byte> out) const override;
  Task<void> serve(size_t index, Virtqueue& queue) override;
  void reset() override { backend_.reset(); }

 private:
  Task<void> serve_requests(Virtqueue& queue);

  ShareBackend& backend_;
};

}  // namespace vmm
