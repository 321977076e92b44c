// Who answers at an address.
#include "devices/bus.h"

#include <catch2/catch.hpp>

using namespace vmm;

namespace {

struct Recorder : Device {
  void read(uint64_t offset, std::span<std::byte> data) override {
    last = offset;
    length = data.size();
    std::fill(data.begin(), data.end(), std::byte{0});
  }
  void write(uint64_t offset, std::span<const std::byte> data) override {
    last = offset;
    length = data.size();
  }
  uint64_t last = 0;
  size_t length = 0;
};

}  // namespace

TEST_CASE("bus: the device in whose range an address lies gets the offset", "[bus]") {
  Bus bus;
  Recorder low;
  Recorder high;
  REQUIRE(bus.add(0x100, 0x10, low));
  REQUIRE(bus.add(0x110, 0x10, high));
  std::array<std::byte, 4> data{};
  CHECK(bus.read(0x114, data));
  CHECK(high.last == 4);
  CHECK(low.length == 0);
}

TEST_CASE("bus: an access past the end of a device is cut, and the rest reads as ones", "[bus]") {
  Bus bus;
  Recorder device;
  REQUIRE(bus.add(0x100, 0x10, device));
  std::array<std::byte, 4> data{};
  CHECK(bus.read(0x10e, data));
  CHECK(device.length == 2);
  CHECK(data == std::array{std::byte{0}, std::byte{0}, std::byte{0xff}, std::byte{0xff}});
}

TEST_CASE("bus: nobody's address reads as ones", "[bus]") {
  Bus bus;
  std::array<std::byte, 2> data{};
  CHECK_FALSE(bus.read(0x1000, data));
  CHECK(data == std::array{std::byte{0xff}, std::byte{0xff}});
  CHECK_FALSE(bus.write(0x1000, data));
}

TEST_CASE("bus: empty, wrapping and overlapping ranges are refused", "[bus]") {
  Bus bus;
  Recorder device;
  REQUIRE(bus.add(0x100, 0x10, device));
  CHECK_FALSE(bus.add(0x200, 0, device));
  CHECK_FALSE(bus.add(~uint64_t{0}, 2, device));
  CHECK_FALSE(bus.add(0xff, 2, device));
  CHECK_FALSE(bus.add(0x10f, 1, device));
  bus.remove(0x100);
  CHECK(bus.add(0xff, 2, device));
}
