// One request: fill the buffer, up to a bound; see rng.h.
#include "devices/virtio/rng.h"

#include <sys/random.h>

#include <algorithm>
#include <array>

#include "devices/virtio/spec.h"

namespace vmm {

namespace {

// The driver may offer gigabytes; it must accept less (§5.4.6.1), and asks again.
constexpr size_t kMaxRequest = 64 * 1024;

}  // namespace

VirtioTraits VirtioRng::traits() const {
  return {.device_id = VIRTIO_ID_RNG, .queue_sizes = {256}, .pci_class = 0x100000};  // "other encryption"
}

Task<void> VirtioRng::serve(size_t, Virtqueue& queue) {
  std::array<std::byte, 256> entropy;  // getrandom() never returns less than asked, up to 256 bytes
  while (auto chain = co_await queue.next()) {
    const size_t wanted = std::min(chain->writable_size(), kMaxRequest);
    while (chain->written() < wanted) {
      const size_t length = std::min(wanted - chain->written(), entropy.size());
      if (::getrandom(entropy.data(), length, 0) < 0) break;
      chain->write(std::span(entropy).first(length));
    }
  }
}

}  // namespace vmm
