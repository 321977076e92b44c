// Guest memory by virtual address, over page tables.
#include "vmm/control/gdb/gdb_memory.h"

#include <catch2/catch.hpp>

#include "tests/support/fake_gdb_target.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kPaging = uint64_t{1} << 31, kLongMode = 1 << 10;
constexpr uint64_t kUser = 0x400000, kKernel = 0xffffffff81000000;
constexpr uint64_t kTable = 3;  // present, writable

// Four levels at 0x10000 and on. kUser leads to 0x5000 and 0x8000, kKernel to 0x6000.
struct Fixture {
  Fixture() {
    entry(0x10000, 0, 0x11000);
    entry(0x11000, 0, 0x12000);
    entry(0x12000, 2, 0x13000);
    entry(0x13000, 0, 0x5000);
    entry(0x13000, 1, 0x8000);
    entry(0x10000, 511, 0x14000);
    entry(0x14000, 510, 0x15000);
    entry(0x15000, 8, 0x16000);
    entry(0x16000, 0, 0x6000);
    for (CpuRegisters& cpu : target.files) {
      cpu.system.cr0 = kPaging;
      cpu.system.efer = kLongMode;
      cpu.system.cr3 = 0x10000;
      cpu.general.rip = kKernel;
    }
    target.put(0x5ffe, "ab");
    target.put(0x8000, "cd");
    target.put(0x6000, "kernel");
  }
  void entry(uint64_t table, uint64_t index, uint64_t to) const {
    target.ram.write_value(GuestAddress{table + index * 8}, to | kTable);
  }
  bool write(unsigned cpu, uint64_t address, std::string_view text) const {
    return memory.write(cpu, address, std::as_bytes(std::span(text)));
  }

  FakeGdbTarget target;
  GdbBreakpoints breakpoints;
  GdbMemory memory{target, breakpoints};
};

}  // namespace

TEST_CASE("gdb memory: pages that are neighbours only virtually are read and written as one", "[gdb]") {
  Fixture f;
  CHECK(f.memory.read(0, kUser + 0xffe, 4) == "abcd");
  CHECK(f.write(0, kUser + 0xffe, "wxyz"));
  CHECK(f.target.bytes(0x5ffe, 2) == "wx");
  CHECK(f.target.bytes(0x8000, 2) == "yz");
}

TEST_CASE("gdb memory: what is not mapped ends a read and hinders a write", "[gdb]") {
  Fixture f;
  CHECK(f.memory.read(0, kUser + 0x1ffe, 4).size() == 2);
  CHECK(f.memory.read(0, kUser + 0x2000, 4).empty());
  CHECK(!f.write(0, kUser + 0x1ffe, "wxyz"));
  CHECK(f.target.bytes(0x8ffe, 2) == std::string(2, '\0'));
  CHECK(f.memory.read(0, ~uint64_t{0} - 1, 4).empty());
}

TEST_CASE("gdb memory: each vCPU has its own user space", "[gdb]") {
  Fixture f;
  f.target.files[1].system.cr3 = 0x20000;
  CHECK(f.memory.read(1, kUser, 4).empty());
  CHECK(f.memory.read(0, kUser, 4).size() == 4);
}

TEST_CASE("gdb memory: the kernel is found in another's tables, or behind those of user space", "[gdb]") {
  Fixture f;
  f.target.files[1].system.cr3 = 0x20000;
  CHECK(f.memory.read(1, kKernel, 6) == "kernel");
  f.target.files[0].system.cr3 = 0x11000;
  f.entry(0x11000, 511, 0);
  CHECK(f.memory.read(1, kKernel, 6) == "kernel");
}

TEST_CASE("gdb memory: device memory is not reached", "[gdb]") {
  Fixture f;
  f.entry(0x13000, 3, 0xfee00000);
  CHECK(f.memory.read(0, kUser + 0x3000, 4).empty());
  CHECK(!f.write(0, kUser + 0x3000, "x"));
}

TEST_CASE("gdb memory: a kernel that unpacks itself is shown where it will be, but not changed", "[gdb]") {
  Fixture f;
  for (CpuRegisters& cpu : f.target.files) cpu = {};
  f.target.in_place = false;
  CHECK(f.memory.read(0, 0xffffffff80006000, 6) == "kernel");
  CHECK(!f.write(0, 0xffffffff80006000, "x"));
  f.target.files[1].general.rip = kKernel;
  CHECK(f.memory.read(0, 0xffffffff80006000, 6).empty());
}
