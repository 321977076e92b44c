// FakeCharBackend: a console's host side with as much room as the test says.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "devices/backends/char/char_backend.h"

namespace vmm::test {

class FakeCharBackend : public CharBackend {
 public:
  size_t write(std::span<const std::byte> bytes) override {
    const size_t length = std::min(bytes.size(), room);
    output.append(reinterpret_cast<const char*>(bytes.data()), length);
    room -= length;
    ++writes;
    return length;
  }
  size_t write_last(std::span<const std::byte> bytes) override {
    room = std::max(room, last_room);
    return write(bytes);
  }
  void set_on_writable(std::function<void()> on_writable) override { on_writable_ = std::move(on_writable); }
  void set_input(std::function<size_t(std::span<const std::byte>)> on_input) override {
    on_input_ = std::move(on_input);
  }
  void resume_input() override { ++resumes; }

  // Input arrives; returns how much of it the device took.
  size_t type(std::string_view text) { return on_input_(std::as_bytes(std::span(text))); }
  // The reader takes `bytes` more.
  void make_room(size_t bytes) {
    room = bytes;
    on_writable_();
  }
  bool attached() const { return on_input_ != nullptr && on_writable_ != nullptr; }

  std::string output;
  size_t room = std::numeric_limits<size_t>::max();
  size_t last_room = std::numeric_limits<size_t>::max();  // for what comes when the device stops
  unsigned writes = 0;
  unsigned resumes = 0;

 private:
  std::function<void()> on_writable_;
  std::function<size_t(std::span<const std::byte>)> on_input_;
};

}  // namespace vmm::test
