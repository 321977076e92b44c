// FuzzDriver: a virtio driver whose every decision is the fuzzer's: descriptors, indices, registers, resets. The device
// is behind its real transport, so that broken rings and restarts are part of what is tried.
#pragma once

#include <memory>
#include <utility>

#include "devices/virtio/spec.h"
#include "devices/virtio/virtio_pci.h"
#include "tests/fuzz/fake_ends.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/fake_device_host.h"
#include "tests/support/transport_driver.h"

namespace vmm::test {

class FuzzDriver : private TransportDriver {
 public:
  FuzzDriver(FakeDeviceHost& host, std::unique_ptr<VirtioDevice> device)
      : host_(host),
        queues_(device->traits().queue_sizes.size()),
        features_(device->traits().features),
        transport_(std::make_unique<VirtioPci>(host_, std::move(device))) {
    transport_->plug(bus, kBar, std::make_unique<LooseWire>(), 11);
    start();
  }
  ~FuzzDriver() {
    transport_->stop([] {});
    host_.loop().run_ready();
  }

  void step(FuzzInput& input) {
    const uint64_t ring = ring_of(input.take_below(queues_));
    switch (input.take_below(10)) {
      case 0:
      case 1:
        return write_descriptor(input, ring);
      case 2:
      case 3:
        return publish(input, ring);
      case 4:
        return set_available_index(ring, input.take<uint16_t>());
      case 5:
        return write_memory(input);
      case 6:
      case 7:
        ring_doorbell(static_cast<uint16_t>(input.take_below(queues_)));
        host_.loop().run_ready();
        return;
      case 8:
        return access(input, bus, kBar, kBarSize);
      default:
        set_status(0);
        host_.loop().run_ready();
        require(status() == 0);  // whatever happened, a reset mends it
        return start();
    }
  }

  // A buffer as an honest driver would send it, in the midst of all that.
  template <typename T>
  void send_value(uint16_t queue, const T& value) {
    const uint64_t ring = ring_of(queue);
    const auto index = host_.memory().read<uint16_t>({ring + kAvailable + 2}).value();
    const auto head = static_cast<uint16_t>(index % kQueueSize);
    host_.memory().write_value(GuestAddress{kBuffers}, value);
    host_.memory().write_value(GuestAddress{ring + head * sizeof(vring_desc)},
                               vring_desc{.addr = kBuffers, .len = sizeof value, .flags = 0, .next = 0});
    host_.memory().write_value(GuestAddress{ring + kAvailable + 4 + 2u * head}, head);
    set_available_index(ring, static_cast<uint16_t>(index + 1));
    ring_doorbell(queue);
    host_.loop().run_ready();
  }

 private:
  static constexpr size_t kBarSize = 0x8000;
  static constexpr uint16_t kQueueSize = 16;
  static constexpr uint64_t kBuffers = 2 << 20;

  static uint64_t ring_of(size_t queue) { return 0x10000 * (queue + 1); }

  // Everything as it should be. The guest's memory is left as it is, but for the indices.
  void start() {
    negotiate(features_ | feature(VIRTIO_F_VERSION_1) | feature(VIRTIO_RING_F_INDIRECT_DESC));
    for (size_t queue = 0; queue < queues_; ++queue) {
      const uint64_t ring = ring_of(queue);
      set_queue(static_cast<uint16_t>(queue), kQueueSize, ring);
      set_available_index(ring, 0);
    }
    set_status(kAgreed | VIRTIO_CONFIG_S_DRIVER_OK);
    host_.loop().run_ready();
  }

  // Half of all descriptors could be an honest driver's.
  void write_descriptor(FuzzInput& input, uint64_t ring) {
    const size_t slot = input.take_below(kQueueSize);
    vring_desc descriptor{};
    if (input.take_bool()) {
      descriptor.addr = kBuffers + input.take<uint16_t>();
      descriptor.len = static_cast<uint32_t>(input.take_below(0x2000));
      descriptor.flags = static_cast<uint16_t>(input.take_below(8));
      descriptor.next = static_cast<uint16_t>(input.take_below(kQueueSize));
    } else {
      descriptor = input.take<vring_desc>();
    }
    host_.memory().write_value(GuestAddress{ring + slot * sizeof descriptor}, descriptor);
  }
  void publish(FuzzInput& input, uint64_t ring) {
    const auto index = host_.memory().read<uint16_t>({ring + kAvailable + 2}).value();
    const uint64_t slot = ring + kAvailable + 4 + 2u * (index % kQueueSize);
    host_.memory().write_value(GuestAddress{slot}, static_cast<uint16_t>(input.take_below(kQueueSize + 1)));
    set_available_index(ring, static_cast<uint16_t>(index + 1));
  }
  void set_available_index(uint64_t ring, uint16_t index) {
    host_.memory().write_value(GuestAddress{ring + kAvailable + 2}, index);
  }
  // Headers of requests, and indirect tables.
  void write_memory(FuzzInput& input) {
    const uint64_t address = kBuffers + input.take<uint16_t>();
    host_.memory().write(GuestAddress{address}, input.take_bytes(input.take_below(64)));
  }

  FakeDeviceHost& host_;
  size_t queues_;
  uint64_t features_;
  std::unique_ptr<VirtioPci> transport_;
};

}  // namespace vmm::test
