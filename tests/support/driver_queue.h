// DriverQueue: the driver's side of one split ring, for tests of devices.
//
//   DriverQueue driver(host);
//   host.loop().spawn(device.serve(0, driver.device_side()));
//   driver.chain().readable(header).writable(512).writable(1).publish();
//   const auto used = driver.next_used();          // steps the loop
//   driver.bytes(used->writable[0])                // what the device wrote there
//
// Buffers are carved from the fake host's memory in order and never reused. Raw access (descriptor(), publish_head(),
// set_available_index()) builds rings that no honest driver would.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "devices/virtio/spec.h"
#include "devices/virtio/virtqueue.h"
#include "tests/support/fake_device_host.h"

namespace vmm::test {

struct Buffer {
  GuestAddress address;
  uint32_t size = 0;
};

class DriverQueue {
 public:
  struct Options {
    uint16_t size = 16;
    bool event_index = false;
    bool indirect = true;
    uint64_t base = 0x1000;  // the ring lies here, buffers from 64 KiB further on
  };

  struct Used {
    uint32_t id = 0;
    uint32_t length = 0;
    std::vector<Buffer> writable;
  };

  explicit DriverQueue(FakeDeviceHost& host) : DriverQueue(host, Options()) {}
  DriverQueue(FakeDeviceHost& host, const Options& options) : host_(host), options_(options) {
    config_ = {.size = options.size,
               .descriptors = {options.base},
               .available = {options.base + 0x4000},
               .used = {options.base + 0x6000},
               .event_index = options.event_index,
               .indirect = options.indirect};
    next_buffer_ = options.base + 0x10000;
    device_side_ = Virtqueue::create(
        host.memory(), host.loop(), kick_, config_, [this] { ++interrupts; },
        [this](const char* why) { broken = why; });
  }
  ~DriverQueue() {
    device_side_->stop();
    host_.loop().run_ready();
  }

  Virtqueue& device_side() { return *device_side_; }
  const VirtqueueConfig& config() const { return config_; }

  // One buffer under construction.
  class Chain {
   public:
    explicit Chain(DriverQueue& driver) : driver_(driver) {}

    Chain& readable(std::span<const std::byte> content) {
      const Buffer buffer = driver_.allocate(static_cast<uint32_t>(content.size()));
      driver_.host_.memory().write(buffer.address, content);
      return add(buffer, 0);
    }
    template <typename T>
    requires std::is_trivially_copyable_v<T> Chain& readable_value(const T& value) {
      return readable(std::as_bytes(std::span(&value, 1)));
    }
    Chain& readable(const std::string& text) { return readable(std::as_bytes(std::span(text))); }
    Chain& writable(uint32_t size) { return add(driver_.allocate(size), VRING_DESC_F_WRITE); }
    // Any address and flags: for what no honest driver does.
    Chain& raw(GuestAddress address, uint32_t size, uint16_t flags) { return add({address, size}, flags); }

    // Makes the buffer available and kicks; returns the head.
    uint16_t publish() {
      const uint16_t head = build();
      driver_.publish_head(head);
      driver_.kick();
      return head;
    }
    // The same with the descriptors in an indirect table.
    uint16_t publish_indirect(uint16_t extra_flags = 0) {
      const Buffer table = driver_.allocate(static_cast<uint32_t>(parts_.size() * sizeof(vring_desc)));
      for (size_t i = 0; i < parts_.size(); ++i) {
        vring_desc descriptor = parts_[i];
        if (i + 1 < parts_.size()) descriptor.flags |= VRING_DESC_F_NEXT;
        descriptor.next = static_cast<uint16_t>(i + 1);
        driver_.host_.memory().write_value(GuestAddress{table.address.value + i * sizeof descriptor}, descriptor);
      }
      std::vector<Buffer> writable = writable_;
      parts_ = {{table.address.value, table.size, static_cast<uint16_t>(VRING_DESC_F_INDIRECT | extra_flags), 0}};
      const uint16_t head = build();
      driver_.writable_[head] = writable;
      driver_.publish_head(head);
      driver_.kick();
      return head;
    }

   private:
    Chain& add(const Buffer& buffer, uint16_t flags) {
      parts_.push_back({buffer.address.value, buffer.size, flags, 0});
      if ((flags & VRING_DESC_F_WRITE) != 0) writable_.push_back(buffer);
      return *this;
    }
    uint16_t build() {
      const uint16_t head = driver_.next_descriptor_;
      for (size_t i = 0; i < parts_.size(); ++i) {
        vring_desc descriptor = parts_[i];
        const uint16_t slot = driver_.next_descriptor_;
        driver_.next_descriptor_ = static_cast<uint16_t>((slot + 1) % driver_.options_.size);
        if (i + 1 < parts_.size()) {
          descriptor.flags |= VRING_DESC_F_NEXT;
          descriptor.next = driver_.next_descriptor_;
        }
        driver_.descriptor(slot, descriptor);
      }
      driver_.writable_[head] = writable_;
      return head;
    }

    DriverQueue& driver_;
    std::vector<vring_desc> parts_;
    std::vector<Buffer> writable_;
  };

  Chain chain() { return Chain(*this); }

  void descriptor(uint16_t slot, const vring_desc& value) {
    host_.memory().write_value(GuestAddress{config_.descriptors.value + slot * sizeof value}, value);
  }
  void publish_head(uint16_t head) {
    const uint64_t slot = config_.available.value + 4 + 2 * (available_index_ % options_.size);
    host_.memory().write_value(GuestAddress{slot}, head);
    set_available_index(static_cast<uint16_t>(available_index_ + 1));
  }
  void set_available_index(uint16_t index) {
    available_index_ = index;
    host_.memory().write_value(GuestAddress{config_.available.value + 2}, index);
  }
  void set_available_flags(uint16_t flags) { host_.memory().write_value(config_.available, flags); }
  void set_used_event(uint16_t index) {
    host_.memory().write_value(GuestAddress{config_.available.value + 4 + 2u * options_.size}, index);
  }
  uint16_t available_event() const {
    return host_.memory().read<uint16_t>(GuestAddress{config_.used.value + 4 + 8u * options_.size}).value();
  }
  void kick() { kick_.signal(); }

  // The next buffer the device returned, after running the loop until it is quiet.
  std::optional<Used> next_used() {
    host_.loop().run_ready();
    const auto index = host_.memory().read<uint16_t>(GuestAddress{config_.used.value + 2}).value();
    if (index == used_index_) return std::nullopt;
    const uint64_t slot = config_.used.value + 4 + sizeof(vring_used_elem) * (used_index_ % options_.size);
    const auto element = host_.memory().read<vring_used_elem>(GuestAddress{slot}).value();
    ++used_index_;
    return Used{element.id, element.len, writable_[static_cast<uint16_t>(element.id)]};
  }

  // The same for requests that end after work of the kernel or of other threads: waits up to ten seconds.
  std::optional<Used> wait_used() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    auto used = next_used();
    while (!used && std::chrono::steady_clock::now() < deadline) used = next_used();
    return used;
  }

  std::vector<std::byte> bytes(const Buffer& buffer) const {
    std::vector<std::byte> content(buffer.size);
    host_.memory().read(buffer.address, content);
    return content;
  }
  Buffer allocate(uint32_t size) {
    const Buffer buffer{{next_buffer_}, size};
    next_buffer_ += (size + 15u) & ~15u;
    return buffer;
  }

  unsigned interrupts = 0;
  std::string broken;  // why the device gave the ring up; empty while it has not

 private:
  FakeDeviceHost& host_;
  Options options_;
  VirtqueueConfig config_;
  EventFd kick_;
  std::unique_ptr<Virtqueue> device_side_;
  std::map<uint16_t, std::vector<Buffer>> writable_;
  uint64_t next_buffer_ = 0;
  uint16_t next_descriptor_ = 0;
  uint16_t available_index_ = 0;
  uint16_t used_index_ = 0;
};

}  // namespace vmm::test
