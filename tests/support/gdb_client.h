// GdbClient: gdb's side of its remote protocol, by hand: for guests of an architecture that the gdb beside a test does
// not know, or where there is none. What does not come in time is an exception.
#pragma once

#include <fmt/core.h>

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include "tests/support/unix_ends.h"

namespace vmm::test {

class GdbClient {
 public:
  explicit GdbClient(const std::string& path) : stub_(path) {
    if (!stub_.connected()) throw std::runtime_error("no gdb stub at " + path);
  }

  // The answer to a packet.
  std::string ask(std::string_view packet) {
    send(packet);
    return next();
  }
  void send(std::string_view packet) {
    unsigned sum = 0;
    for (const char c : packet) sum += static_cast<unsigned char>(c);
    stub_.send(fmt::format("${}#{:02x}", packet, sum & 0xff));
  }
  void interrupt() { stub_.send("\x03"); }
  // The next packet of the stub's own.
  std::string next() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    for (;;) {
      const size_t begin = come_.find('$');
      const size_t end = come_.find('#', begin == come_.npos ? 0 : begin);
      if (begin != come_.npos && end != come_.npos && end + 2 < come_.size()) {
        std::string payload = come_.substr(begin + 1, end - begin - 1);
        come_.erase(0, end + 3);
        stub_.send("+");
        return payload;
      }
      if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error("no answer of the gdb stub: " + come_);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      come_ += stub_.receive();
    }
  }

  // A register of up to 64 bits, by its number.
  uint64_t reg(unsigned number) { return number_of(ask(fmt::format("p{:x}", number))); }
  // Bytes of memory, and those that are a number, the least significant first.
  std::string text(uint64_t address, unsigned size) {
    const std::string digits = ask(fmt::format("m{:x},{:x}", address, size));
    std::string bytes;
    for (size_t at = 0; at + 2 <= digits.size(); at += 2) {
      bytes.push_back(static_cast<char>(std::stoul(digits.substr(at, 2), nullptr, 16)));
    }
    return bytes;
  }
  uint64_t memory(uint64_t address, unsigned size) { return number_of(ask(fmt::format("m{:x},{:x}", address, size))); }

 private:
  static uint64_t number_of(const std::string& digits) {
    if (digits.empty() || digits.starts_with('E') || digits.size() > 16) {
      throw std::runtime_error("the gdb stub answers '" + digits + "'");
    }
    uint64_t value = 0;
    for (size_t at = digits.size(); at >= 2; at -= 2)
      value = value << 8 | std::stoul(digits.substr(at - 2, 2), nullptr, 16);
    return value;
  }

  HostEnd stub_;
  std::string come_;
};

}  // namespace vmm::test
