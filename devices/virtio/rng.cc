// One request: fill the buffer, up to a bound; see rng.h.
#include "devices/virtio/rng.h"

#include <sys/random.h>

#include <algorithm>
#include <array>

#include "devices/virtio/spec.h"
#include "vmm/core/turn_budget.h"

namespace vmm {

namespace {

// The driver may offer gigabytes; it must accept less (§5.4.6.1), and asks again.
constexpr size_t kMaxRequest = 64 * 1024;
// Entropy costs the host more than copies do.
constexpr size_t kTurnBytes = 64 * 1024;

}  // namespace

VirtioTraits VirtioRng::traits() const {
  return {.device_id = VIRTIO_ID_RNG, .queue_sizes = {256}, .pci_class = 0x100000};  // "other encryption"
}

Task<void> VirtioRng::serve(size_t, Virtqueue& queue) {
  std::array<std::byte, 256> entropy;  // getrandom() never returns less than asked, up to 256 bytes
  TurnBudget budget(queue.loop(), kTurnBytes);
  while (auto chain = co_await queue.next()) {
    const size_t wanted = std::min(chain->writable_size(), kMaxRequest);
    while (chain->written() < wanted && !queue.stopped()) {
      const size_t length = std::min(wanted - chain->written(), entropy.size());
      if (::getrandom(entropy.data(), length, 0) < 0) break;
      chain->write(std::span(entropy).first(length));
      co_await budget.spend(length);
    }
  }
}

}  // namespace vmm
