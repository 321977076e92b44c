// What a virtio device and its driver have agreed on, and where their rings are, as lines for a person; see
// virtio_pci.h.
#include <fmt/core.h>

#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "devices/virtio/spec.h"
#include "devices/virtio/virtio_pci.h"
#include "vmm/core/trace.h"

namespace vmm {

namespace {

constexpr std::array<std::pair<unsigned, std::string_view>, 6> kStatusBits{{
    {VIRTIO_CONFIG_S_ACKNOWLEDGE, "acknowledged"},
    {VIRTIO_CONFIG_S_DRIVER, "has a driver"},
    {VIRTIO_CONFIG_S_FEATURES_OK, "features agreed"},
    {VIRTIO_CONFIG_S_DRIVER_OK, "driven"},
    {VIRTIO_CONFIG_S_NEEDS_RESET, "needs reset"},
    {VIRTIO_CONFIG_S_FAILED, "given up by its driver"},
}};

std::string status_text(uint8_t status) {
  std::string text = fmt::format("{:#04x}", status);
  for (const auto& [bit, meaning] : kStatusBits) {
    if ((status & bit) != 0) text += fmt::format(", {}", meaning);
  }
  return text;
}

std::string vector_text(uint16_t vector) {
  return vector == VIRTIO_MSI_NO_VECTOR ? "no vector" : fmt::format("vector {}", vector);
}

// Behind the flags, where available and used ring have them (Virtio 1.2 §2.7.6 and §2.7.8). The rings are the guest's:
// they may be anywhere, or nowhere.
std::string index_text(const GuestMemory& memory, uint64_t ring) {
  constexpr uint64_t kIndex = 2;
  const auto index = memory.read<uint16_t>(GuestAddress{ring + kIndex});
  return index ? std::to_string(*index) : "not in memory";
}

}  // namespace

void VirtioPci::trace_status(uint8_t value) const {
  if (!traced(TraceArea::kVirtio)) return;
  trace(TraceArea::kVirtio, "{}: status {}, features {:#x}", device_->name(), status_text(value), driver_features_);
}

std::string VirtioPci::describe() {
  std::string text;
  {
    const std::lock_guard lock(mutex_);
    text += fmt::format("  status {}\n", status_text(status_));
    text += fmt::format("  features {:#x} taken of {:#x} offered\n", driver_features_, offered_features());
    for (size_t i = 0; i < queues_.size(); ++i) {
      const Queue& queue = queues_[i];
      text += fmt::format("  queue {}: {} of {} entries, {}", i, queue.size, queue.max_size,
                          queue.enabled ? vector_text(queue.vector) : "not enabled");
      if (queue.enabled) {
        text += fmt::format(", available index {}, used index {}", index_text(host_.memory(), queue.available),
                            index_text(host_.memory(), queue.used));
      }
      text += "\n";
    }
  }
  return text;
}

std::string VirtioPci::describe_interrupts() const {
  if (!msix_.enabled()) return "  INTx: MSI-X is not enabled\n";
  std::string text;
  for (size_t i = 0; i < msix_.size(); ++i) {
    const MsixTable::Vector vector = msix_.vector(i);
    text +=
        fmt::format("  MSI-X {}: data {:#x} to {:#x}, {} sent{}{}\n", i, vector.message.data, vector.message.address,
                    vector.sent, vector.masked ? ", masked" : "", vector.pending ? ", pending" : "");
  }
  return text;
}

}  // namespace vmm
