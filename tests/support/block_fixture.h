// A virtio-blk device with a disk in memory and a driver on its first queue.
#pragma once

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "devices/virtio/block.h"
#include "tests/support/driver_queue.h"
#include "tests/support/memory_backend.h"

namespace vmm::test {

constexpr uint64_t kSectors = 2048;
constexpr uint64_t kFlush = feature(VIRTIO_BLK_F_FLUSH);
constexpr uint64_t kConfigWce = feature(VIRTIO_BLK_F_CONFIG_WCE);

inline virtio_blk_outhdr header(uint32_t type, uint64_t sector = 0) {
  return {.type = type, .ioprio = 0, .sector = sector};
}

struct BlockFixture {
  explicit BlockFixture(const DiskConfig& config = {}, uint64_t features = kFlush | kConfigWce)
      : BlockFixture(std::make_unique<MemoryBackend>(kSectors * 512), config, features) {}
  BlockFixture(std::unique_ptr<MemoryBackend> storage, const DiskConfig& config, uint64_t features)
      : owned_backend(std::move(storage)),
        backend(*owned_backend),
        block(backend, config, "vda", 2),
        driver(host, {.size = 256}) {
    block.change_config = [this](const VirtioDevice::Change& change) {
      change();
      ++config_changes;
    };
    block.negotiated(features);
    host.loop().spawn(block.serve(0, driver.device_side()), [this] { ended = true; });
  }

  virtio_blk_config config() const {
    virtio_blk_config config{};
    block.read_config(0, std::as_writable_bytes(std::span(&config, 1)).first(block.traits().config_size));
    return config;
  }
  void set_writeback(bool on) {
    const std::byte value{on};
    block.write_config(offsetof(virtio_blk_config, wce), {&value, 1});
  }
  // The status byte, and the used length.
  struct Answer {
    int status = -1;
    uint32_t length = 0;
  };
  Answer next_answer() {
    const auto used = driver.next_used();
    REQUIRE(used);
    if (used->length == 0) return {-1, 0};
    return {std::to_integer<int>(driver.bytes(used->writable.back()).back()), used->length};
  }
  int write(uint64_t sector, uint32_t bytes = 512) {
    driver.chain()
        .readable_value(header(VIRTIO_BLK_T_OUT, sector))
        .readable(std::string(bytes, 'w'))
        .writable(1)
        .publish();
    return next_answer().status;
  }
  int unmap(uint32_t type, const std::vector<virtio_blk_discard_write_zeroes>& segments) {
    driver.chain().readable_value(header(type)).readable(std::as_bytes(std::span(segments))).writable(1).publish();
    return next_answer().status;
  }
  void publish_read(uint64_t sector) {
    driver.chain().readable_value(header(VIRTIO_BLK_T_IN, sector)).writable(512).writable(1).publish();
  }

  FakeDeviceHost host;
  std::unique_ptr<MemoryBackend> owned_backend;
  MemoryBackend& backend;
  VirtioBlock block;
  DriverQueue driver;
  unsigned config_changes = 0;
  bool ended = false;
};

inline std::unique_ptr<MemoryBackend> read_only_disk() {
  auto backend = std::make_unique<MemoryBackend>(kSectors * 512);
  backend->is_read_only = true;
  return backend;
}

}  // namespace vmm::test
