// The ends that a device's wires and streams lead to, for fuzz targets.
#pragma once

#include <functional>
#include <span>
#include <utility>

#include "devices/backends/char/char_backend.h"
#include "devices/irq.h"

namespace vmm::test {

struct LooseWire : IrqLine {
  void set(bool) override {}
};

// A host that takes and sends as much as the target says.
class FuzzStream : public CharBackend {
 public:
  size_t write(std::span<const std::byte> bytes) override {
    const size_t taken = std::min(bytes.size(), room);
    room -= taken;
    return taken;
  }
  size_t write_last(std::span<const std::byte> bytes) override { return write(bytes); }
  void set_on_writable(std::function<void()> on_writable) override { on_writable_ = std::move(on_writable); }
  void set_input(std::function<size_t(std::span<const std::byte>)> on_input) override {
    on_input_ = std::move(on_input);
  }
  void resume_input() override {}

  void make_room(size_t bytes) {
    room = bytes;
    if (on_writable_) on_writable_();
  }
  // Returns how many bytes the device took.
  size_t send(std::span<const std::byte> bytes) { return on_input_ ? on_input_(bytes) : 0; }

  size_t room = 0;

 private:
  std::function<void()> on_writable_;
  std::function<size_t(std::span<const std::byte>)> on_input_;
};

}  // namespace vmm::test
