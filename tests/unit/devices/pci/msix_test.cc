// The vector table as a guest programs it, with every mask and with accesses it does not take.
#include "devices/pci/msix.h"

#include <catch2/catch.hpp>

#include "tests/support/fake_device_host.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kAddress = 0, kAddressHigh = 4, kData = 8, kControl = 12;

struct Fixture {
  Fixture() {
    table.set_control(true, false);
    for (uint64_t vector = 0; vector < table.size(); ++vector) {
      write<uint32_t>(vector * 16 + kAddress, 0xfee00000);
      write<uint32_t>(vector * 16 + kData, static_cast<uint32_t>(0x40 + vector));
      write<uint32_t>(vector * 16 + kControl, 0);
    }
  }
  template <typename T>
  T read(uint64_t offset) {
    T value{};
    table.read_table(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  template <typename T>
  void write(uint64_t offset, T value) {
    table.write_table(offset, std::as_bytes(std::span(&value, 1)));
  }
  template <typename T>
  T pending(uint64_t offset = 0) {
    T value{};
    table.read_pending(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  size_t sent() const { return host.messages.size(); }

  FakeDeviceHost host;
  MsixTable table{host, 11};
};

}  // namespace

TEST_CASE("msix: a vector's message is sent with both halves of its address", "[pci]") {
  Fixture f;
  f.write<uint32_t>(2 * 16 + kAddressHigh, 0x12);
  f.table.trigger(2);
  CHECK(f.host.messages == std::vector<MsiMessage>{{0x12fee00000, 0x42}});
  CHECK(f.pending<uint64_t>() == 0);
}

TEST_CASE("msix: a message says which device it is from", "[pci]") {
  Fixture f;
  f.table.set_requester(3 << 3);
  f.table.trigger(0);
  CHECK(f.host.messages == std::vector<MsiMessage>{{0xfee00000, 0x40, 3 << 3}});
}

TEST_CASE("msix: vectors begin masked, and the whole disabled", "[pci]") {
  FakeDeviceHost host;
  MsixTable table(host, 2);
  CHECK_FALSE(table.enabled());
  table.trigger(0);
  table.set_control(true, false);
  table.trigger(1);
  CHECK(host.messages.empty());
}

TEST_CASE("msix: what is triggered under a mask is pending, and sent once when it is lifted", "[pci]") {
  Fixture f;
  f.write<uint32_t>(9 * 16 + kControl, 1);
  f.table.trigger(9);
  f.table.trigger(9);
  CHECK(f.sent() == 0);
  CHECK(f.pending<uint64_t>() == 1 << 9);
  CHECK(f.pending<uint8_t>(1) == 2);
  f.write<uint32_t>(9 * 16 + kControl, 0);
  CHECK(f.sent() == 1);
  CHECK(f.pending<uint64_t>() == 0);
}

TEST_CASE("msix: the mask of all and disabling hold back every vector until lifted", "[pci]") {
  const auto [enabled, masked] = GENERATE(table<bool, bool>({{true, true}, {false, false}}));
  Fixture f;
  f.table.set_control(enabled, masked);
  f.table.trigger(0);
  f.table.trigger(10);
  CHECK(f.sent() == 0);
  CHECK(f.pending<uint16_t>() == (1 | 1 << 10));
  f.table.set_control(true, false);
  CHECK(f.sent() == 2);
}

TEST_CASE("msix: a message changed under the mask is the one that is sent", "[pci]") {
  Fixture f;
  f.write<uint32_t>(kControl, 1);
  f.table.trigger(0);
  f.write<uint64_t>(kData, 0x77);  // data, and the mask lifted
  CHECK(f.host.messages == std::vector<MsiMessage>{{0xfee00000, 0x77}});
}

TEST_CASE("msix: masking and unmasking without end sends nothing that was not triggered", "[pci]") {
  Fixture f;
  for (int i = 0; i < 10'000; ++i) {
    f.write<uint32_t>(kControl, 1);
    f.write<uint32_t>(kControl, 0);
    f.table.set_control(true, true);
    f.table.set_control(true, false);
  }
  CHECK(f.sent() == 0);
}

TEST_CASE("msix: reserved bits of the control word read as zero", "[pci]") {
  Fixture f;
  f.write<uint32_t>(kControl, 0xffffffff);
  CHECK(f.read<uint32_t>(kControl) == 1);
}

TEST_CASE("msix: the table takes aligned accesses of 4 and 8 bytes", "[pci]") {
  Fixture f;
  f.write<uint64_t>(16, 0x1122334455667788);
  CHECK(f.read<uint64_t>(16) == 0x1122334455667788);
  CHECK(f.read<uint32_t>(20) == 0x11223344);
}

TEST_CASE("msix: other widths and offsets read as zero and write nothing", "[pci]") {
  Fixture f;
  f.write<uint8_t>(kData, 0xff);
  f.write<uint16_t>(kData, 0xffff);
  f.write<uint32_t>(kData + 1, 0xffffffff);
  f.write<uint64_t>(kData + 2, ~uint64_t{0});
  CHECK(f.read<uint32_t>(kData) == 0x40);
  CHECK(f.read<uint16_t>(kData) == 0);
  CHECK(f.read<uint32_t>(kData + 2) == 0);
}

TEST_CASE("msix: accesses beyond the table and vectors that are not there do nothing", "[pci]") {
  const uint64_t offset = GENERATE(uint64_t{11 * 16}, uint64_t{0x1ffc}, uint64_t{0xfffffffffffffffc});
  Fixture f;
  f.write<uint32_t>(offset, 0xffffffff);
  CHECK(f.read<uint32_t>(offset) == 0);
  CHECK(f.pending<uint64_t>(2) == 0);
  f.write<uint64_t>(11 * 16 - 4, 0xffffffff00000000);  // begins in the last entry and ends past it
  f.table.trigger(11);
  f.table.trigger(0xffff);
  f.table.trigger(SIZE_MAX);
  CHECK(f.sent() == 0);
  CHECK(f.pending<uint64_t>() == 0);
}

TEST_CASE("msix: it is told what a vector is, and how often it was sent", "[pci]") {
  Fixture f;
  f.table.trigger(3);
  f.table.trigger(3);
  CHECK(f.table.vector(3).sent == 2);
  CHECK(f.table.vector(3).message == MsiMessage{0xfee00000, 0x43});
  f.write<uint32_t>(3 * 16 + kControl, 1);
  f.table.trigger(3);
  CHECK(f.table.vector(3).sent == 2);
  CHECK(f.table.vector(3).masked);
  CHECK(f.table.vector(3).pending);
}
