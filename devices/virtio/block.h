// virtio-blk: a disk. Virtio 1.2 §5.2.
//
// Each queue is served by several copies of one loop, so that many requests are with the backend at once; each copy
// keeps the memory its requests need for the next one. Between guest and file nothing is copied: the buffers of a chain
// are the scatter list of the transfer.
//
// A request that is wrong (past the end, the wrong direction, a write to a read-only disk) fails with a status byte; a
// chain without room for that byte is just returned. What a write and a flush promise is in devices/README.md.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "devices/backends/disk/block_backend.h"
#include "devices/backends/disk/disk.h"
#include "devices/virtio/spec.h"
#include "devices/virtio/virtio_device.h"

namespace vmm {

class VirtioBlock : public VirtioDevice {
 public:
  struct Stats {
    uint64_t reads = 0;
    uint64_t writes = 0;
    uint64_t flushes = 0;
    uint64_t discards = 0;  // discards and write-zeroes
    uint64_t bytes_read = 0;
    uint64_t bytes_written = 0;
    uint64_t errors = 0;  // requests that failed, and chains that were no requests
  };

  // `name`: how the guest will know it ("vda"); it is the serial number too, unless the user chose one. Throws Error
  // when the size of the storage does not suit the block size asked for.
  VirtioBlock(BlockBackend& backend, const DiskConfig& config, std::string name, uint16_t queues);

  // All of these on the loop's thread.
  const Stats& stats() const { return stats_; }
  bool busy() const { return in_flight_ > 0; }  // requests are with the backend
  BlockBackend& backend() const { return backend_; }
  // Looks whether the storage grew and tells the driver. One that shrank keeps its size and fails past its end.
  void refresh_size();

  std::string name() const override { return "virtio-blk " + name_; }
  VirtioTraits traits() const override;
  void read_config(size_t offset, std::span<std::byte> out) const override;
  void write_config(size_t offset, std::span<const std::byte> in) override;
  void negotiated(uint64_t features) override;
  void activate(uint64_t features) override;
  Task<void> serve(size_t index, Virtqueue& queue) override;
  void stopping() override { stopping_ = true; }
  void reset() override;

 private:
  enum class Verb { kRead, kWrite };
  // What a chain asks for, checked. The vectors keep their memory from one request to the next.
  struct Request {
    uint32_t type = 0;
    uint64_t offset = 0;      // bytes
    uint32_t bytes_in = 0;    // written into the chain, without the status
    uint64_t bytes_out = 0;   // of a write
    std::vector<iovec> data;  // of a read, a write, or for the serial number
    std::vector<virtio_blk_discard_write_zeroes> segments;
  };

  Task<void> serve_queue(Virtqueue& queue);
  Task<void> serve_requests(Virtqueue& queue);
  uint8_t parse(const DescriptorChain& chain, Request& request) const;
  uint8_t parse_read(const DescriptorChain& chain, uint64_t sector, Request& request) const;
  uint8_t parse_write(const DescriptorChain& chain, uint64_t sector, Request& request) const;
  uint8_t parse_identify(const DescriptorChain& chain, Request& request) const;
  uint8_t parse_segments(const DescriptorChain& chain, Request& request) const;
  bool in_range(uint64_t sector, uint64_t bytes) const;
  Task<int> perform(Request& request);
  Task<int> transfer(Verb verb, uint64_t offset, std::span<iovec> data);
  Task<int> transfer_in_parts(Verb verb, uint64_t offset, std::span<iovec> data);
  Task<int> unmap(const Request& request);
  Task<int> identify(std::span<const iovec> to) const;
  void finish(DescriptorChain& chain, const Request& request, uint8_t status);
  // A choice made while a write is under way counts for the next one, because the mode must have been write-through
  // for the whole life of the write (§5.2.6.2).
  Durability durability() const { return writeback_ ? Durability::kCached : Durability::kStable; }

  BlockBackend& backend_;
  std::string name_;
  std::array<std::byte, VIRTIO_BLK_ID_BYTES> serial_{};
  uint16_t queues_;
  Stats stats_;
  size_t in_flight_ = 0;
  bool multiqueue_ = false;  // VIRTIO_BLK_F_MQ was negotiated
  bool stopping_ = false;

  virtio_blk_config config_{};           // but for `wce`
  std::atomic<bool> writeback_{true};    // its `wce`: whether written data waits for a flush
  std::atomic<bool> may_choose_{false};  // the driver may change that at any time
};

}  // namespace vmm
