// FakeNetBackend: a network whose frames a test hands in and looks at.
#pragma once

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "devices/backends/iovecs.h"
#include "devices/backends/net/net_backend.h"

namespace vmm::test {

// An Ethernet frame: addresses, a type, and content up to the wanted length.
inline std::string ethernet(const std::string& to, const std::string& from, size_t length, char content = 'x') {
  std::string frame = to + from + std::string("\x08\x00", 2);
  frame.resize(length, content);
  return frame;
}

class FakeNetBackend : public NetBackend {
 public:
  struct Configured {
    uint64_t offloads = 0;
    size_t queues = 0;
  };

  explicit FakeNetBackend(size_t its_queues = 1, uint64_t its_offloads = 0)
      : incoming(its_queues), offloads_(its_offloads) {}

  std::string describe() const override { return "fake"; }
  size_t queues() const override { return incoming.size(); }
  uint64_t offloads() const override { return offloads_; }
  uint16_t mtu() const override { return mtu_value; }
  bool link_up() const override { return up; }
  void attach(NetClient* attached) override { client = attached; }
  void configure(uint64_t guest_offloads, size_t used) override { configured = {guest_offloads, used}; }

  std::optional<size_t> receive(size_t queue, std::span<const iovec> to) override {
    ++receives;
    if (incoming[queue].empty()) return std::nullopt;
    const std::string frame = std::move(incoming[queue].front());
    incoming[queue].pop_front();
    scatter(std::as_bytes(std::span(frame)), to);
    return frame.size();
  }
  bool send(size_t, std::span<const iovec> frame) override {
    if (!room) return false;
    std::string bytes(total_size(frame), '\0');
    gather(frame, std::as_writable_bytes(std::span(bytes)));
    sent.push_back(bytes);
    return true;
  }

  // With a header of zeroes in front.
  void arrive(const std::string& frame, size_t queue = 0) { arrive_raw(std::string(kNetHeader, '\0') + frame, queue); }
  void arrive_raw(const std::string& frame, size_t queue = 0) {
    incoming[queue].push_back(frame);
    if (client != nullptr) client->frames_arrived(queue);
  }
  void set_link(bool is_up) {
    up = is_up;
    if (client != nullptr) client->link_changed();
  }

  std::vector<std::deque<std::string>> incoming;
  std::vector<std::string> sent;
  Configured configured;
  NetClient* client = nullptr;
  uint16_t mtu_value = 0;
  unsigned receives = 0;
  bool room = true;
  bool up = true;

 private:
  uint64_t offloads_;
};

}  // namespace vmm::test
