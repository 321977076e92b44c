// From a function to its caller, by ORC tables of both formats.
#include "vmm/blackbox/orc.h"

#include <catch2/catch.hpp>

#include "tests/support/linux_memory.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kCode = LinuxMemory::kImage + LinuxMemory::kCode;
constexpr uint64_t kStack = LinuxMemory::kImage + LinuxMemory::kStack;
constexpr uint16_t kSp = 5, kBp = 4, kSpIndirect = 9, kBpIndirect = 8, kR10 = 6;
constexpr uint16_t kBpFromFrame = 1 << 4;

enum Type { kCall, kRegs, kPartial, kEnd, kUndefined };
// The type's number in a format.
uint16_t kinds(Type type, bool new_format, uint16_t sp_register, uint16_t bp = 0) {
  constexpr uint16_t kNew[] = {2, 3, 4, 1, 0};
  constexpr uint16_t kOld[] = {0, 1, 2, 0x400 >> 8, 0};
  const bool no_register = type == kEnd || type == kUndefined;
  const auto number = static_cast<uint16_t>(new_format ? kNew[type] : kOld[type]);
  return static_cast<uint16_t>(number << 8 | bp | (no_register ? 0 : sp_register));
}

struct Unwound {
  explicit Unwound(LinuxMemory& linux, const char* release = "6.1.0")
      : kernel(linux.kernel()), symbols(Kallsyms::read(kernel, linux.vmcoreinfo())), orc(kernel, symbols, release) {}
  AddressSpace kernel;
  Kallsyms symbols;
  Orc orc;
};

Orc::State at(uint64_t place, uint64_t sp = kStack) {
  Orc::State state;
  state.ip = kCode + place;
  state.sp = sp;
  state.bp = kStack + 0x100;
  return state;
}

}  // namespace

TEST_CASE("orc: a call returns to the address below the caller's stack pointer", "[blackbox]") {
  const bool new_format = GENERATE(false, true);
  LinuxMemory linux;
  linux.orc = {{kCode, 8, 0, kinds(kCall, new_format, kSp)},
               {kCode + 0x100, 24, -16, kinds(kCall, new_format, kSp, kBpFromFrame)},
               {kCode + 0x200, 16, 0, kinds(kCall, new_format, kBp)},
               {kCode + 0x300, 0, 0, 0}};
  linux.write();
  linux.put(LinuxMemory::kStack, uint64_t{0xb});
  linux.put(LinuxMemory::kStack + 8, uint64_t{0xbbbb});
  linux.put(LinuxMemory::kStack + 16, kCode + 0x10);
  linux.put(LinuxMemory::kStack + 0x108, kCode + 0x20);
  Unwound unwound(linux, new_format ? "6.4.0" : "6.3.9");
  REQUIRE(unwound.orc.found());

  Orc::State state = at(0x150);
  REQUIRE(unwound.orc.unwind(state) == Orc::Step::kCaller);
  CHECK(state.ip == kCode + 0x10);
  CHECK(state.sp == kStack + 24);
  CHECK(state.bp == 0xbbbb);
  CHECK_FALSE(state.exact);

  state = at(0x250);
  REQUIRE(unwound.orc.unwind(state) == Orc::Step::kCaller);
  CHECK(state.ip == kCode + 0x20);
  CHECK(state.sp == kStack + 0x110);
  CHECK(state.bp == kStack + 0x100);
}

TEST_CASE("orc: a return address belongs to the code before it", "[blackbox]") {
  LinuxMemory linux;
  linux.orc = {{kCode, 8, 0, kSp}, {kCode + 0x100, 0, 0, 0}, {kCode + 0x200, 0, 0, 0}};
  linux.write();
  linux.put(LinuxMemory::kStack, kCode + 0x10);
  Unwound unwound(linux);
  Orc::State state = at(0x100);
  state.exact = false;
  CHECK(unwound.orc.unwind(state) == Orc::Step::kCaller);
  state = at(0x100);
  CHECK(unwound.orc.unwind(state) == Orc::Step::kEnd);
}

TEST_CASE("orc: an interrupt's registers lead back to where it struck", "[blackbox]") {
  const bool new_format = GENERATE(false, true);
  LinuxMemory linux;
  linux.orc = {{kCode, 0, 0, kinds(kRegs, new_format, kSp)},
               {kCode + 0x100, 16, 0, kinds(kPartial, new_format, kSp)},
               {kCode + 0x200, 0, 0, 0}};
  linux.write();
  linux.put(LinuxMemory::kStack + 32, uint64_t{0xbb});
  linux.put(LinuxMemory::kStack + 56, uint64_t{0x10});
  linux.put(LinuxMemory::kStack + 128, kCode + 0x77);
  linux.put(LinuxMemory::kStack + 136, uint64_t{0x10});
  linux.put(LinuxMemory::kStack + 152, kStack + 0x2000);
  linux.put(LinuxMemory::kStack + 16, kCode + 0x99);
  linux.put(LinuxMemory::kStack + 24, uint64_t{0x33});
  linux.put(LinuxMemory::kStack + 40, uint64_t{0x7ffc0000});
  Unwound unwound(linux, new_format ? "6.12.1" : "6.1.0");

  Orc::State state = at(0x50);
  REQUIRE(unwound.orc.unwind(state) == Orc::Step::kCaller);
  CHECK(state.ip == kCode + 0x77);
  CHECK(state.sp == kStack + 0x2000);
  CHECK(state.bp == 0xbb);
  CHECK(state.r10 == 0x10u);
  CHECK(state.exact);
  CHECK_FALSE(state.in_user_space);

  state = at(0x150);
  REQUIRE(unwound.orc.unwind(state) == Orc::Step::kCaller);
  CHECK(state.ip == kCode + 0x99);
  CHECK(state.in_user_space);
}

TEST_CASE("orc: a stack pointer kept elsewhere is found there", "[blackbox]") {
  LinuxMemory linux;
  linux.orc = {{kCode, 8, 0, kSpIndirect},
               {kCode + 0x100, -8, 0, kBpIndirect},
               {kCode + 0x200, 0, 0, kR10},
               {kCode + 0x300, 0, 0, 0}};
  linux.write();
  linux.put(LinuxMemory::kStack, kStack + 0x1000);
  linux.put(LinuxMemory::kStack + 0x1000, kCode + 1);
  linux.put(LinuxMemory::kStack + 0xf8, kStack + 0x2000);
  linux.put(LinuxMemory::kStack + 0x1ff8, kCode + 2);
  Unwound unwound(linux);
  Orc::State state = at(0x50);
  REQUIRE(unwound.orc.unwind(state) == Orc::Step::kCaller);
  CHECK(state.sp == kStack + 0x1008);
  state = at(0x150);
  REQUIRE(unwound.orc.unwind(state) == Orc::Step::kCaller);
  CHECK(state.ip == kCode + 2);
  state = at(0x250);
  CHECK(unwound.orc.unwind(state) == Orc::Step::kLost);  // R10 is not known
  state.r10 = kStack + 0x2000;
  CHECK(unwound.orc.unwind(state) == Orc::Step::kCaller);
}

TEST_CASE("orc: ends and gaps are told apart", "[blackbox]") {
  LinuxMemory linux;
  linux.orc = {
      {kCode, 0, 0, kinds(kEnd, true, 0)}, {kCode + 0x100, 0, 0, kinds(kUndefined, true, 0)}, {kCode + 0x200, 0, 0, 0}};
  linux.write();
  Unwound unwound(linux, "6.6.9");
  Orc::State state = at(0x50);
  CHECK(unwound.orc.unwind(state) == Orc::Step::kEnd);
  state = at(0x150);
  CHECK(unwound.orc.unwind(state) == Orc::Step::kLost);
  state = at(0x250);  // beyond the last entry, as modules are
  CHECK(unwound.orc.unwind(state) == Orc::Step::kLost);
  state.ip = 0;
  CHECK(unwound.orc.unwind(state) == Orc::Step::kLost);
}

TEST_CASE("orc: a kernel without tables has none, and a stack that is not there is lost", "[blackbox]") {
  LinuxMemory linux;
  linux.write();
  CHECK_FALSE(Unwound(linux).orc.found());
  linux.orc = {{kCode, 8, 0, kSp}, {kCode + 0x100, 0, 0, 0}};
  linux.write();
  Unwound unwound(linux);
  Orc::State state = at(0x10, 0x1234);
  CHECK(unwound.orc.unwind(state) == Orc::Step::kLost);
  CHECK(state.sp == 0x1234);
}

TEST_CASE("orc: registers as Linux 7 numbers them are told by the entries", "[blackbox]") {
  constexpr uint16_t kCallOf = 2 << 8, kAx = 1, kSpOf7 = 3, kBpIndirectOf7 = 10, kBpFromFrameOf7 = 8 << 4;
  LinuxMemory linux;
  linux.orc = {{kCode, 24, -16, kCallOf | kSpOf7 | kBpFromFrameOf7},
               {kCode + 0x100, 8, 0, kCallOf | kSpOf7},
               {kCode + 0x200, -8, 0, kCallOf | kBpIndirectOf7},
               {kCode + 0x300, 8, 0, kCallOf | kAx},
               {kCode + 0x400, 0, 0, 0},
               {kCode + 0x500, 0, 0, 0}};
  linux.write();
  linux.put(LinuxMemory::kStack + 8, uint64_t{0xbbbb});
  linux.put(LinuxMemory::kStack + 16, kCode + 0x10);
  linux.put(LinuxMemory::kStack + 0xf8, kStack + 0x2000);
  linux.put(LinuxMemory::kStack + 0x1ff8, kCode + 2);
  Unwound unwound(linux, "7.2.13");

  Orc::State state = at(0x50);
  REQUIRE(unwound.orc.unwind(state) == Orc::Step::kCaller);
  CHECK(state.ip == kCode + 0x10);
  CHECK(state.sp == kStack + 24);
  CHECK(state.bp == 0xbbbb);
  state = at(0x250);
  REQUIRE(unwound.orc.unwind(state) == Orc::Step::kCaller);
  CHECK(state.ip == kCode + 2);
  state = at(0x350);
  CHECK(unwound.orc.unwind(state) == Orc::Step::kLost);  // RAX is not known
  state.ax = kStack + 0x1ff8;
  REQUIRE(unwound.orc.unwind(state) == Orc::Step::kCaller);
  CHECK(state.ip == kCode + 2);
  state = at(0x450);
  CHECK(unwound.orc.unwind(state) == Orc::Step::kLost);
}
