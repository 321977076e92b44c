// TransportDriver: what a driver does to a virtio device on PCI before the first request: it finds the BAR on a bus,
// agrees on features, places its rings and rings its doorbells. Its base is for fixtures that own the transport.
#pragma once

#include <cstdint>
#include <span>

#include "devices/bus.h"
#include "devices/virtio/spec.h"

namespace vmm::test {

class TransportDriver {
 public:
  static constexpr uint32_t kBar = 0xc0000000;
  static constexpr uint64_t kNotify = 0x3000;
  static constexpr uint64_t kMsixTable = 0x4000;
  // Where the parts of a ring lie, from the beginning of its descriptors.
  static constexpr uint64_t kAvailable = 0x1000, kUsed = 0x2000;
  static constexpr uint8_t kFound = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
  static constexpr uint8_t kAgreed = kFound | VIRTIO_CONFIG_S_FEATURES_OK;

  template <typename T>
  T read(uint64_t offset) {
    T value{};
    bus.read(kBar + offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  template <typename T>
  void write(uint64_t offset, T value) {
    bus.write(kBar + offset, std::as_bytes(std::span(&value, 1)));
  }
  uint8_t status() { return read<uint8_t>(VIRTIO_PCI_COMMON_STATUS); }
  void set_status(unsigned value) { write<uint8_t>(VIRTIO_PCI_COMMON_STATUS, static_cast<uint8_t>(value)); }

  uint64_t offered_features() {
    uint64_t features = 0;
    for (const uint32_t half : {0u, 1u}) {
      write<uint32_t>(VIRTIO_PCI_COMMON_DFSELECT, half);
      features |= uint64_t{read<uint32_t>(VIRTIO_PCI_COMMON_DF)} << (32 * half);
    }
    return features;
  }
  void negotiate(uint64_t features) {
    set_status(kFound);
    for (const uint32_t half : {0u, 1u}) {
      write<uint32_t>(VIRTIO_PCI_COMMON_GFSELECT, half);
      write<uint32_t>(VIRTIO_PCI_COMMON_GF, static_cast<uint32_t>(features >> (32 * half)));
    }
    set_status(kAgreed);
  }
  void set_queue(uint16_t index, uint16_t size, uint64_t ring, bool enable = true) {
    write<uint16_t>(VIRTIO_PCI_COMMON_Q_SELECT, index);
    write<uint16_t>(VIRTIO_PCI_COMMON_Q_SIZE, size);
    write<uint64_t>(VIRTIO_PCI_COMMON_Q_DESCLO, ring);
    write<uint64_t>(VIRTIO_PCI_COMMON_Q_AVAILLO, ring + kAvailable);
    write<uint64_t>(VIRTIO_PCI_COMMON_Q_USEDLO, ring + kUsed);
    if (enable) write<uint16_t>(VIRTIO_PCI_COMMON_Q_ENABLE, 1);
  }
  void ring_doorbell(uint16_t queue) { write<uint16_t>(kNotify + 4u * queue, queue); }

  Bus bus;
};

}  // namespace vmm::test
