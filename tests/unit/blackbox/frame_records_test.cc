// From a function to its caller, by the records on an arm64 kernel's stack.
#include "vmm/blackbox/frame_records.h"

#include <catch2/catch.hpp>

#include "tests/support/linux_memory.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kCode = LinuxMemory::kImage + LinuxMemory::kCode;
constexpr uint64_t kStack = LinuxMemory::kImage + LinuxMemory::kStack;

struct Kernel : LinuxMemory {
  Kernel() : LinuxMemory(Machine::kArm64) { write(); }
  void record(uint64_t place, uint64_t fp, uint64_t lr) const {
    put(LinuxMemory::kStack + place, fp);
    put(LinuxMemory::kStack + place + 8, lr);
  }
  AddressSpace space = kernel();
  FrameRecords records{space, kArm64Signature};
};

}  // namespace

TEST_CASE("frame records: the chain leads from caller to caller, and ends", "[blackbox]") {
  const Kernel linux;
  linux.record(0x10, kStack + 0x80, kCode + 0x100);
  linux.record(0x80, kStack + 0x200, kCode + 0x200);
  linux.record(0x200, 0, 0);
  FrameRecords::State state{kCode, kStack + 0x10, kCode + 8};
  REQUIRE(linux.records.unwind(state));
  CHECK(state.pc == kCode + 0x100);
  CHECK(state.fp == kStack + 0x80);
  CHECK_FALSE(state.lr);
  REQUIRE(linux.records.unwind(state));
  CHECK(state.pc == kCode + 0x200);
  CHECK_FALSE(linux.records.unwind(state));
  CHECK(state.pc == kCode + 0x200);
}

TEST_CASE("frame records: the signature of a return address is taken off", "[blackbox]") {
  const Kernel linux;
  constexpr uint64_t kSigned = uint64_t{0x5ec2} << 48 | ((kCode + 0x100) & ~LinuxMemory::kArm64Signature);
  linux.record(0, 0x10, kSigned);
  FrameRecords::State state{kCode, kStack, std::nullopt};
  REQUIRE(linux.records.unwind(state));
  CHECK(state.pc == kCode + 0x100);
  Arm64Registers registers;
  registers.pc = kCode;
  registers.x[29] = kStack;
  registers.x[30] = kSigned;
  CHECK(linux.records.top(registers).pc == kCode);
  CHECK(linux.records.top(registers).fp == kStack);
  CHECK(linux.records.top(registers).lr == kCode + 0x100);
}

TEST_CASE("frame records: what an exception stored leads back to where it struck", "[blackbox]") {
  const Kernel linux;
  // struct pt_regs at 0x100 of the stack: X29, X30 and PC, then the record in it with its type.
  constexpr uint64_t kRegs = 0x100, kRecord = kRegs + 296;
  linux.put(LinuxMemory::kStack + kRegs + 29 * 8, kStack + 0x400);
  linux.put(LinuxMemory::kStack + kRegs + 30 * 8, kCode + 0x300);
  linux.put(LinuxMemory::kStack + kRegs + 32 * 8, kCode + 0x310);
  linux.put(LinuxMemory::kStack + kRecord + 16, uint64_t{2});
  FrameRecords::State state{kCode, kStack + kRecord, std::nullopt};
  REQUIRE(linux.records.unwind(state));
  CHECK(state.pc == kCode + 0x310);
  CHECK(state.fp == kStack + 0x400);
  CHECK(state.lr == kCode + 0x300);
  // From user space the kernel was entered anew: there is nothing before.
  state = {kCode, kStack + kRecord, std::nullopt};
  linux.put(LinuxMemory::kStack + kRecord + 16, uint64_t{1});
  CHECK_FALSE(linux.records.unwind(state));
  linux.put(LinuxMemory::kStack + kRecord + 16, uint64_t{2});
  linux.put(LinuxMemory::kStack + kRegs + 32 * 8, uint64_t{0x7fff12345678});
  CHECK_FALSE(linux.records.unwind(state));
}

TEST_CASE("frame records: no record, or none of the kernel's, is the end", "[blackbox]") {
  const Kernel linux;
  FrameRecords::State state{kCode, 0, std::nullopt};
  CHECK_FALSE(linux.records.unwind(state));
  state.fp = 0xffff123400000000;
  CHECK_FALSE(linux.records.unwind(state));
  linux.record(0, kStack + 0x40, 0x400123);  // a program's
  state.fp = kStack;
  CHECK_FALSE(linux.records.unwind(state));
}
