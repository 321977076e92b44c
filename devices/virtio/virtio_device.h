// VirtioDevice: what a device type must say and do. The transport (virtio_pci.h) does everything else: feature
// negotiation, the rings, reset, interrupts.
//
// A device serves each of its queues by a task that loops `while (auto chain = co_await queue.next())`. Resetting or
// stopping the device makes next() answer with nothing, the task ends, and when all have ended the device is reset.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "devices/virtio/virtqueue.h"
#include "vmm/core/async.h"

namespace vmm {

struct VirtioTraits {
  uint16_t device_id = 0;             // VIRTIO_ID_*
  uint64_t features = 0;              // the device type's own feature bits; the transport adds VERSION_1 and ring bits
  std::vector<uint16_t> queue_sizes;  // the largest size of each queue
  size_t config_size = 0;             // bytes of device-specific configuration
  uint32_t pci_class = 0xff0000;      // class code, subclass, programming interface
  uint64_t ring_bits = ~uint64_t{0};  // features of rings that the transport may add
};

class VirtioDevice {
 public:
  virtual ~VirtioDevice() = default;

  virtual std::string name() const = 0;  // "virtio-rng", "virtio-blk vda": for messages
  virtual VirtioTraits traits() const = 0;

  // Whether these of the offered features go together (§2.2: a device may refuse what depends on what is missing). On a
  // vCPU thread.
  virtual bool accepts(uint64_t /*features*/) const { return true; }

  // Device configuration, on a vCPU thread; the range has been checked against config_size. Fields the driver may not
  // write ignore it.
  virtual void read_config(size_t, std::span<std::byte>) const {}
  virtual void write_config(size_t, std::span<const std::byte>) {}

  // On a vCPU thread: these features are agreed on, which may change what read_config() shows. Any number of times
  // before activate(), not after it.
  virtual void negotiated(uint64_t /*features*/) {}
  // On the loop: DRIVER_OK was set with these features; serve() follows for every enabled queue.
  virtual void activate(uint64_t /*features*/) {}
  // Runs on the loop until the queue is stopped. May start several loops over one queue by spawning. A driver may
  // enable any queue of traits(), also one that it did not negotiate: that is for serve_nothing().
  virtual Task<void> serve(size_t index, Virtqueue& queue) = 0;
  // Quiescing begins, by reset or stop; on the loop: wake whatever serve() waits for besides the queue.
  virtual void stopping() {}
  // Quiesced: every serve() has ended; on the loop: forget what the driver negotiated.
  virtual void reset() {}

  // Set by the transport: makes a change to what read_config() shows, and tells the driver. read_config() never runs at
  // the same time, and a driver that has read half before it sees that it must read again (§2.5.1). Loop thread.
  using Change = std::function<void()>;
  std::function<void(const Change&)> change_config = [](const Change& change) { change(); };
};

// For a queue that there is, but not with what was negotiated: nothing is taken from it.
inline Task<void> serve_nothing() { co_return; }

}  // namespace vmm
