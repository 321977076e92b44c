// FuzzDriver: a virtio driver whose every decision is the fuzzer's: which features it takes, which queues of which size
// it enables, descriptors, indices, registers, resets. The device is behind its real transport, so that broken rings
// and restarts are part of what is tried.
//
// An input without decisions is an ordinary driver: all features, all queues.
#pragma once

#include <linux/pci_regs.h>

#include <memory>
#include <utility>
#include <vector>

#include "devices/virtio/spec.h"
#include "devices/virtio/virtio_pci.h"
#include "tests/fuzz/fake_ends.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/fake_device_host.h"
#include "tests/support/transport_driver.h"

namespace vmm::test {

class FuzzDriver : private TransportDriver {
 public:
  // Its rings lie from `base` on, 64 KiB each.
  FuzzDriver(FuzzInput& input, FakeDeviceHost& host, std::unique_ptr<VirtioDevice> device, uint64_t base = 0x10000)
      : host_(host),
        base_(base),
        queues_(device->traits().queue_sizes.size()),
        sizes_(queues_, kQueueSize),
        transport_(std::make_unique<VirtioPci>(host_, std::move(device))) {
    transport_->plug(bus, kBar, std::make_unique<LooseWire>(), 11);
    start(input);
  }
  ~FuzzDriver() {
    transport_->stop([] {});
    host_.loop().run_ready();
  }

  void step(FuzzInput& input) {
    const size_t queue = input.take_below(queues_);
    switch (input.take_below(11)) {
      case 0:
      case 1:
        return write_descriptor(input, queue);
      case 2:
      case 3:
        return publish(input, queue);
      case 4:
        return set_available_index(ring_of(queue), input.take<uint16_t>());
      case 5:
        return write_memory(input);
      case 6:
      case 7:
        ring_doorbell(static_cast<uint16_t>(input.take_below(queues_)));
        host_.loop().run_ready();
        return;
      case 8:
        return access(input, bus, kBar, kBarSize);
      case 9:
        return set_used_event(queue, input.take<uint16_t>());
      default:
        if (input.take_bool()) set_bus_master(input.take_bool());
        set_status(0);
        host_.loop().run_ready();
        require(status() == 0);  // whatever happened, a reset mends it
        set_bus_master(true);
        return start(input);
    }
  }

  // A buffer as an honest driver would send it, in the midst of all that.
  template <typename T>
  void send_value(uint16_t queue, const T& value) {
    const uint64_t ring = ring_of(queue);
    const auto index = host_.memory().read<uint16_t>({ring + kAvailable + 2}).value();
    const auto head = static_cast<uint16_t>(index % sizes_[queue]);
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

  uint64_t ring_of(size_t queue) const { return base_ + 0x10000 * queue; }

  // What it does is allowed, but need not make sense. The guest's memory is left as it is, but for the indices.
  void start(FuzzInput& input) {
    uint64_t features = offered_features();
    if (input.take_bool()) features &= input.take<uint64_t>() | feature(VIRTIO_F_VERSION_1);
    negotiate(features);
    if ((status() & VIRTIO_CONFIG_S_FEATURES_OK) == 0) negotiate(feature(VIRTIO_F_VERSION_1));
    for (size_t queue = 0; queue < queues_; ++queue) {
      sizes_[queue] = static_cast<uint16_t>(input.take_bool() ? 1u << input.take_below(9) : kQueueSize);
      if (input.take_below(8) == 7) continue;
      set_queue(static_cast<uint16_t>(queue), sizes_[queue], ring_of(queue));
      set_available_index(ring_of(queue), 0);
    }
    set_status(kAgreed | VIRTIO_CONFIG_S_DRIVER_OK);
    host_.loop().run_ready();
  }
  void set_bus_master(bool on) {
    const auto command = static_cast<uint16_t>(PCI_COMMAND_MEMORY | (on ? PCI_COMMAND_MASTER : 0));
    transport_->write_config(PCI_COMMAND, std::as_bytes(std::span(&command, 1)));
    host_.loop().run_ready();
  }

  // Half of all descriptors could be an honest driver's. Some are of all the memory there is.
  void write_descriptor(FuzzInput& input, size_t queue) {
    const uint64_t ring = ring_of(queue);
    const size_t slot = input.take_below(sizes_[queue]);
    vring_desc descriptor{};
    if (input.take_bool()) {
      descriptor.addr = kBuffers + input.take<uint16_t>();
      descriptor.len = static_cast<uint32_t>(input.take_below(0x2000));
      descriptor.flags = static_cast<uint16_t>(input.take_below(8));
      descriptor.next = static_cast<uint16_t>(input.take_below(sizes_[queue]));
      if (input.take_below(16) == 15) descriptor.addr = 0;
      if (descriptor.addr == 0) descriptor.len = FakeDeviceHost::kMemorySize;
    } else {
      descriptor = input.take<vring_desc>();
    }
    host_.memory().write_value(GuestAddress{ring + slot * sizeof descriptor}, descriptor);
  }
  void publish(FuzzInput& input, size_t queue) {
    const uint64_t ring = ring_of(queue);
    const auto index = host_.memory().read<uint16_t>({ring + kAvailable + 2}).value();
    const uint64_t slot = ring + kAvailable + 4 + 2u * (index % sizes_[queue]);
    host_.memory().write_value(GuestAddress{slot}, static_cast<uint16_t>(input.take_below(sizes_[queue] + 1u)));
    set_available_index(ring, static_cast<uint16_t>(index + 1));
  }
  void set_available_index(uint64_t ring, uint16_t index) {
    host_.memory().write_value(GuestAddress{ring + kAvailable + 2}, index);
  }
  void set_used_event(size_t queue, uint16_t index) {
    host_.memory().write_value(GuestAddress{ring_of(queue) + kAvailable + 4 + 2u * sizes_[queue]}, index);
  }
  // Headers of requests, and indirect tables.
  void write_memory(FuzzInput& input) {
    const uint64_t address = kBuffers + input.take<uint16_t>();
    host_.memory().write(GuestAddress{address}, input.take_bytes(input.take_below(64)));
  }

  FakeDeviceHost& host_;
  const uint64_t base_;
  const size_t queues_;
  std::vector<uint16_t> sizes_;
  std::unique_ptr<VirtioPci> transport_;
};

}  // namespace vmm::test
