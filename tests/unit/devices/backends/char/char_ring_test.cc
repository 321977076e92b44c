// A byte queue that wraps, fills and overflows.
#include "devices/backends/char/char_ring.h"

#include <catch2/catch.hpp>
#include <string>

using namespace vmm;

namespace {

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string drain(CharRing& ring) {
  std::string text;
  while (!ring.empty()) {
    const auto front = ring.front();
    text.append(reinterpret_cast<const char*>(front.data()), front.size());
    ring.pop(front.size());
  }
  return text;
}

}  // namespace

TEST_CASE("char ring: takes what fits and keeps its order across the wrap", "[char]") {
  CharRing ring(5);
  CHECK(ring.push(bytes("abc")) == 3);
  ring.pop(2);
  CHECK(ring.push(bytes("defgh")) == 4);
  CHECK(ring.room() == 0);
  CHECK(ring.push(bytes("x")) == 0);
  CHECK(drain(ring) == "cdefg");
  CHECK(ring.front().empty());
}

TEST_CASE("char ring: pushing over drops the oldest and tells how many", "[char]") {
  CharRing ring(5);
  ring.push(bytes("abc"));
  CHECK(ring.push_over(bytes("de")) == 0);
  CHECK(ring.push_over(bytes("fg")) == 2);
  CHECK(drain(ring) == "cdefg");
}

TEST_CASE("char ring: pushing over more than its size keeps the newest", "[char]") {
  CharRing ring(5);
  ring.push(bytes("abc"));
  CHECK(ring.push_over(bytes("0123456789")) == 8);
  CHECK(drain(ring) == "56789");
}

TEST_CASE("char ring: nothing pushed and nothing popped changes nothing", "[char]") {
  CharRing ring(3);
  CHECK(ring.push({}) == 0);
  CHECK(ring.push_over({}) == 0);
  ring.push(bytes("abc"));
  ring.pop(0);
  CHECK(ring.size() == 3);
  CHECK(drain(ring) == "abc");
}
