// BalloonFixture: a balloon of which a test drives one queue, and memory whose pages it looks at.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "devices/virtio/balloon.h"
#include "tests/support/driver_queue.h"

namespace vmm::test {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kMemory = FakeDeviceHost::kMemorySize;
constexpr uint64_t kEnd = kMemory / kPage;  // the first page number past RAM
// Pages that no ring and no buffer is in.
constexpr uint64_t kFirst = 0x200;
constexpr uint64_t kCount = 0x100;

constexpr uint64_t kAllFeatures = feature(VIRTIO_BALLOON_F_STATS_VQ) | feature(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) |
                                  feature(VIRTIO_BALLOON_F_FREE_PAGE_HINT) | feature(VIRTIO_BALLOON_F_REPORTING) |
                                  feature(VIRTIO_BALLOON_F_PAGE_POISON);
constexpr uint64_t kWithoutHints = kAllFeatures & ~feature(VIRTIO_BALLOON_F_FREE_PAGE_HINT);

struct BalloonFixture {
  explicit BalloonFixture(size_t queue, uint64_t features = kAllFeatures, uint16_t ring_size = 16)
      : driver(host, {.size = ring_size}) {
    host.memory().slice({kFirst * kPage}, kCount * kPage)->fill(std::byte{0x5a});
    balloon.activate(features);
    host.loop().spawn(balloon.serve(queue, driver.device_side()));
  }
  ~BalloonFixture() { balloon.stopping(); }

  // The first and the last byte, as one is written or both are zero.
  bool given_back(uint64_t page) {
    return host.memory().read<uint8_t>({page * kPage}) == uint8_t{0} &&
           host.memory().read<uint8_t>({page * kPage + kPage - 1}) == uint8_t{0};
  }
  uint64_t pages_given_back() {
    uint64_t count = 0;
    for (uint64_t page = kFirst; page < kFirst + kCount; ++page) count += uint64_t{given_back(page)};
    return count;
  }
  uint64_t bytes_as_they_were() {
    std::vector<std::byte> bytes(kCount * kPage);
    host.memory().read({kFirst * kPage}, bytes);
    return static_cast<uint64_t>(std::ranges::count(bytes, std::byte{0x5a}));
  }
  void write_config(size_t offset, uint32_t value) {
    balloon.write_config(offset, std::as_bytes(std::span(&value, 1)));
  }
  uint32_t read_config(size_t offset) const {
    uint32_t value = 0;
    balloon.read_config(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  FakeDeviceHost host;
  VirtioBalloon balloon{{.size = 1 << 20}, kMemory};
  DriverQueue driver;
};

}  // namespace vmm::test
