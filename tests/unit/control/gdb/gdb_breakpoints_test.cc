// Breakpoints in guest memory and in debug registers.
#include "vmm/control/gdb/gdb_breakpoints.h"

#include <array>
#include <catch2/catch.hpp>
#include <string>

using namespace vmm;
using Kind = GdbBreakpoints::Kind;
using Result = GdbBreakpoints::Result;

namespace {

constexpr std::array<GuestMemory::Range, 1> kRam{{{{0}, 0x10000}}};

struct Fixture {
  Result soft(uint64_t address, std::optional<GuestAddress> where) {
    return breakpoints.insert(memory, Kind::kSoftware, address, 1, where);
  }
  Result watch(uint64_t address, uint64_t length) {
    return breakpoints.insert(memory, Kind::kWrite, address, length, std::nullopt);
  }
  uint8_t at(uint64_t address) const { return memory.read<uint8_t>(GuestAddress{address}).value(); }
  size_t points() const {
    size_t count = 0;
    for (const auto& point : breakpoints.debug().points) count += point.has_value();
    return count;
  }

  GuestMemory memory{kRam};
  GdbBreakpoints breakpoints;
};

}  // namespace

TEST_CASE("gdb breakpoints: an INT3 is put into memory, hidden from reads, and taken out", "[gdb]") {
  Fixture f;
  f.memory.write_value(GuestAddress{0x1000}, uint8_t{0x55});
  CHECK(f.soft(0xffff1000, GuestAddress{0x1000}) == Result::kDone);
  CHECK(f.at(0x1000) == 0xcc);
  CHECK(f.breakpoints.debug().catch_breakpoints);
  CHECK(f.breakpoints.is_patched(GuestAddress{0x1000}));
  std::array<std::byte, 4> seen{};
  REQUIRE(f.memory.read(GuestAddress{0xffe}, seen));
  f.breakpoints.hide(GuestAddress{0xffe}, seen);
  CHECK(seen[2] == std::byte{0x55});
  f.breakpoints.remove(f.memory, Kind::kSoftware, 0xffff1000, 1);
  CHECK(f.at(0x1000) == 0x55);
  CHECK(!f.breakpoints.debug().catch_breakpoints);
}

TEST_CASE("gdb breakpoints: what is written around one is there when it is gone", "[gdb]") {
  Fixture f;
  f.soft(0x1001, GuestAddress{0x1001});
  const std::array<std::byte, 3> code{std::byte{1}, std::byte{2}, std::byte{3}};
  CHECK(f.breakpoints.write(f.memory, GuestAddress{0x1000}, code));
  CHECK(f.at(0x1001) == 0xcc);
  CHECK(f.at(0x1002) == 3);
  f.breakpoints.remove_all(f.memory);
  CHECK(f.at(0x1001) == 2);
  CHECK(!f.breakpoints.write(f.memory, GuestAddress{0xffff}, code));
}

TEST_CASE("gdb breakpoints: code that the guest has replaced meanwhile stays", "[gdb]") {
  Fixture f;
  f.soft(0x1000, GuestAddress{0x1000});
  f.memory.write_value(GuestAddress{0x1000}, uint8_t{0x90});
  f.breakpoints.remove_all(f.memory);
  CHECK(f.at(0x1000) == 0x90);
}

TEST_CASE("gdb breakpoints: inserting again and removing what is not there do nothing", "[gdb]") {
  Fixture f;
  f.memory.write_value(GuestAddress{0x1000}, uint8_t{0x55});
  CHECK(f.soft(0x1000, GuestAddress{0x1000}) == Result::kDone);
  CHECK(f.soft(0x1000, GuestAddress{0x1000}) == Result::kDone);
  f.breakpoints.remove(f.memory, Kind::kSoftware, 0x2000, 1);
  f.breakpoints.remove(f.memory, Kind::kSoftware, 0x1000, 1);
  f.breakpoints.remove(f.memory, Kind::kSoftware, 0x1000, 1);
  CHECK(f.at(0x1000) == 0x55);
}

TEST_CASE("gdb breakpoints: two virtual addresses of one page share its INT3", "[gdb]") {
  Fixture f;
  f.memory.write_value(GuestAddress{0x1000}, uint8_t{0x55});
  f.soft(0xaaaa1000, GuestAddress{0x1000});
  f.soft(0xbbbb1000, GuestAddress{0x1000});
  f.breakpoints.remove(f.memory, Kind::kSoftware, 0xaaaa1000, 1);
  CHECK(f.at(0x1000) == 0xcc);
  f.breakpoints.remove(f.memory, Kind::kSoftware, 0xbbbb1000, 1);
  CHECK(f.at(0x1000) == 0x55);
}

TEST_CASE("gdb breakpoints: one whose page is not there takes a debug register", "[gdb]") {
  Fixture f;
  CHECK(f.soft(0xffffffff81000000, std::nullopt) == Result::kDone);
  CHECK(f.soft(0xffffffff81000001, GuestAddress{0xfee00000}) == Result::kDone);
  CHECK(f.points() == 2);
  CHECK(!f.breakpoints.debug().catch_breakpoints);
  CHECK(f.breakpoints.met(0, 0xffffffff81000000)->kind == Kind::kSoftware);
  CHECK(!f.breakpoints.met(0, 0xffffffff81000004));
  CHECK(!f.breakpoints.met(3, 0xffffffff81000000));
  CHECK(!f.breakpoints.met(9, 0));
}

TEST_CASE("gdb breakpoints: there are four debug registers, and no more", "[gdb]") {
  Fixture f;
  for (uint64_t i = 0; i < 4; ++i) {
    CHECK(f.breakpoints.insert(f.memory, Kind::kHardware, 0x1000 + i, 1, std::nullopt) == Result::kDone);
  }
  CHECK(f.watch(0x2000, 4) == Result::kNoRegisterFree);
  f.breakpoints.remove(f.memory, Kind::kHardware, 0x1002, 1);
  CHECK(f.watch(0x2000, 4) == Result::kDone);
  CHECK(f.breakpoints.met(2, 0)->address == 0x2000);
}

TEST_CASE("gdb breakpoints: a watch that no register has takes several, or none at all", "[gdb]") {
  Fixture f;
  CHECK(f.watch(0x2003, 6) == Result::kDone);  // 1 byte, 4, and 1
  const auto points = f.breakpoints.debug().points;
  CHECK(points[0] == HardwarePoint{HardwarePoint::Kind::kWrite, 0x2003, 1});
  CHECK(points[1] == HardwarePoint{HardwarePoint::Kind::kWrite, 0x2004, 4});
  CHECK(points[2] == HardwarePoint{HardwarePoint::Kind::kWrite, 0x2008, 1});
  CHECK(f.breakpoints.met(1, 0)->address == 0x2003);
  CHECK(f.watch(0x3000, 9) == Result::kNoRegisterFree);
  CHECK(f.points() == 3);
  CHECK(f.watch(0x3000, 0) == Result::kNoRegisterFree);
  CHECK(f.watch(0x3000, uint64_t{1} << 60) == Result::kNoRegisterFree);
  f.breakpoints.remove(f.memory, Kind::kWrite, 0x2003, 6);
  CHECK(f.points() == 0);
}

TEST_CASE("gdb breakpoints: a flood of them has an end", "[gdb]") {
  Fixture f;
  for (uint64_t i = 0; i < GdbBreakpoints::kMost; ++i) {
    REQUIRE(f.soft(i, GuestAddress{i % 0x10000}) == Result::kDone);
  }
  CHECK(f.soft(0x1000000, GuestAddress{0}) == Result::kTooMany);
  f.breakpoints.remove_all(f.memory);
  CHECK(f.at(0x1234) == 0);
}

TEST_CASE("gdb breakpoints: one that waited for its page goes into it, and frees its debug register", "[gdb]") {
  Fixture f;
  f.memory.write_value(GuestAddress{0x1000}, uint8_t{0x55});
  f.soft(0xffffffff81000000, std::nullopt);
  f.soft(0xffffffff82000000, std::nullopt);
  f.breakpoints.settle(f.memory, [](uint64_t address) {
    return address == 0xffffffff81000000 ? std::optional(GuestAddress{0x1000}) : std::nullopt;
  });
  CHECK(f.at(0x1000) == 0xcc);
  CHECK(f.points() == 1);
  f.breakpoints.remove(f.memory, Kind::kSoftware, 0xffffffff81000000, 1);
  CHECK(f.at(0x1000) == 0x55);
}
