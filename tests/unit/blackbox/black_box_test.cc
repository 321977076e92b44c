// The whole: a kernel found in memory, its log and stacks; and what is said when it is not there.
#include "vmm/blackbox/black_box.h"

#include <array>
#include <catch2/catch.hpp>
#include <string>

#include "tests/support/linux_memory.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

constexpr uint64_t kCode = LinuxMemory::kImage + LinuxMemory::kCode;
constexpr uint16_t kCall = 5;  // counted from the stack pointer

// "a+0x10 b+0x5", with "?" before what is not sure.
std::string text(const std::vector<Frame>& frames) {
  std::string found;
  for (const Frame& frame : frames) {
    found += fmt::format("{}{}{}+{:#x}", found.empty() ? "" : " ", frame.sure ? "" : "?", frame.symbol, frame.offset);
  }
  return found;
}

struct Crashed : LinuxMemory {
  Crashed() {
    add_code("panic", 0x1000);
    add_code("sysrq_handle_crash", 0x2000);
    add_code("vfs_write", 0x3000);
    add_code("start", 0x4000);
    log(1, 0, "Kernel panic - not syncing: sysrq triggered crash");
    put(kStackEnd - 32, return_address(0x2020));
    put(kStackEnd - 16, return_address(0x3030));
  }
  void write_orc() {
    orc = {{kImage + kCode + 0x1000, 8, 0, kCall},
           {kImage + kCode + 0x2000, 16, 0, kCall},
           {kImage + kCode + 0x3000, 0, 0, 0},
           {kImage + kCode + 0x4000, 0, 0, 0}};
  }
};

}  // namespace

TEST_CASE("black box: release, KASLR, log and stack of a dead kernel", "[blackbox]") {
  Crashed linux;
  linux.write_orc();
  linux.write();
  const CpuState cpu = linux.cpu(0x1010, LinuxMemory::kStackEnd - 32);
  const BlackBox box(linux.memory, std::array{cpu});
  CHECK(box.troubles().empty());
  CHECK(box.release() == "6.1.0-1-test");
  CHECK(box.kaslr_offset() == 0x400000);
  REQUIRE(box.log().lines.size() == 1);
  CHECK(box.log().lines[0].text == "Kernel panic - not syncing: sysrq triggered crash");
  CHECK(text(box.stack(cpu)) == "panic+0x10 sysrq_handle_crash+0x20 vfs_write+0x30");
}

TEST_CASE("black box: without unwind tables the stack is searched, and frames are marked", "[blackbox]") {
  Crashed linux;
  linux.put(LinuxMemory::kStackEnd - 24, kCode + 0x2500);  // code, but no call is before it
  linux.write();
  const CpuState cpu = linux.cpu(0x1010, LinuxMemory::kStackEnd - 40);
  const BlackBox box(linux.memory, std::array{cpu});
  CHECK(text(box.stack(cpu)) == "panic+0x10 ?sysrq_handle_crash+0x20 ?vfs_write+0x30");
}

TEST_CASE("black box: from a module's code the search leads back to what is sure of itself", "[blackbox]") {
  Crashed linux;
  linux.write_orc();
  linux.write();
  CpuState cpu = linux.cpu(0, LinuxMemory::kStackEnd - 40);
  cpu.x86()->rip = 0xffffffffc0123456;
  const BlackBox box(linux.memory, std::array{cpu});
  CHECK(text(box.stack(cpu)) == "+0x0 ?sysrq_handle_crash+0x20 ?vfs_write+0x30");
}

TEST_CASE("black box: in a retpoline thunk, which has no unwind data, the stack is searched on", "[blackbox]") {
  Crashed linux;
  linux.add_code("__x86_indirect_thunk_rax", 0x5000);
  linux.write_orc();
  linux.orc.back().address = kCode + 0x5000;
  linux.orc.push_back({kCode + 0x6000, 0, 0, 0});
  linux.write();
  const CpuState cpu = linux.cpu(0x5000, LinuxMemory::kStackEnd - 32);
  const BlackBox box(linux.memory, std::array{cpu});
  CHECK(text(box.stack(cpu)) == "__x86_indirect_thunk_rax+0x0 ?sysrq_handle_crash+0x20 ?vfs_write+0x30");
}

TEST_CASE("black box: a CPU in user space, or never started, has no stack", "[blackbox]") {
  Crashed linux;
  linux.write();
  CpuState cpu = linux.cpu(0x1010);
  const BlackBox box(linux.memory, std::array{cpu});
  CHECK_FALSE(box.stack(cpu).empty());
  cpu.x86()->privilege = 3;
  CHECK(box.stack(cpu).empty());
  cpu.x86()->privilege = 0;
  cpu.activity = CpuState::Activity::kNotStarted;
  CHECK(box.stack(cpu).empty());
  cpu.activity = CpuState::Activity::kRunning;
  cpu.x86()->rip = 0xfff0;
  CHECK(box.stack(cpu).empty());
}

TEST_CASE("black box: a stack that goes in circles ends", "[blackbox]") {
  Crashed linux;
  linux.orc = {{kCode + 0x1000, -8, 0, kCall}, {kCode + 0x2000, 0, 0, 0}};
  linux.put(LinuxMemory::kStack, kCode + 0x1010);
  for (uint64_t at = LinuxMemory::kStack; at < LinuxMemory::kStackEnd; at += 8) linux.put(at, kCode + 0x1010);
  linux.write();
  const CpuState cpu = linux.cpu(0x1010, LinuxMemory::kStackEnd - 8);
  CHECK(BlackBox(linux.memory, std::array{cpu}).stack(cpu).size() <= 64);
}

TEST_CASE("black box: CPUs that were reset leave the log and their absence", "[blackbox]") {
  Crashed linux;
  linux.write();
  CpuState cpu;
  cpu.x86()->rip = 0xfff0;
  const BlackBox box(linux.memory, std::array{cpu});
  CHECK(box.log().lines.size() == 1);
  CHECK(box.stack(cpu).empty());
}

TEST_CASE("black box: with the page tables of user space the kernel is found all the same", "[blackbox]") {
  Crashed linux;
  linux.write();
  CpuState cpu = linux.cpu(0x1010);
  // Page-table isolation: the kernel's tables are at an even page, and those of user space in the next one.
  for (uint64_t at = 0; at < 0x1000; at += 8) {
    const auto entry = linux.memory.read<uint64_t>(GuestAddress{LinuxMemory::kPhysical + LinuxMemory::kTables + at});
    linux.memory.write_value(GuestAddress{0x200000 + at}, entry.value());
  }
  cpu.x86()->cr3 = 0x201000;
  cpu.x86()->privilege = 3;
  CHECK_FALSE(BlackBox(linux.memory, std::array{cpu}).release().empty());
}

TEST_CASE("black box: a forgery that no CPU's page tables agree with is passed over", "[blackbox]") {
  Crashed linux;
  linux.write();
  const CpuState cpu = linux.cpu(0x1010);
  // Earlier in memory, sound in itself, and about a kernel with another log.
  LinuxMemory other;
  other.log(1, 0, "forged");
  other.write();
  std::array<std::byte, 0x200000> image;
  REQUIRE(other.memory.read(GuestAddress{LinuxMemory::kPhysical}, image));
  REQUIRE(linux.memory.write(GuestAddress{0x200000}, image));
  LinuxMemory forged;
  forged.info["NUMBER(phys_base)"] =
      std::to_string(0x200000 - static_cast<int64_t>(LinuxMemory::kImage - LinuxMemory::kMap));
  const std::string page = forged.info_text() + '\0';
  REQUIRE(linux.memory.write(GuestAddress{0x1000}, std::as_bytes(std::span(page))));
  const uint64_t directory = 0x200000 + LinuxMemory::kTables;
  linux.memory.write_value(GuestAddress{directory + 511 * 8}, directory + 0x1003);
  linux.memory.write_value(GuestAddress{directory + 0x1000 + 510 * 8}, directory + 0x2003);
  linux.memory.write_value(GuestAddress{directory + 0x2000 + 10 * 8}, uint64_t{0x200083});

  const BlackBox box(linux.memory, std::array{cpu});
  REQUIRE(box.log().lines.size() == 1);
  CHECK_THAT(box.log().lines[0].text, Contains("sysrq"));
  // It is the CPU that tells: without one, the first that is sound in itself is believed.
  CHECK(BlackBox(linux.memory, {}).log().lines[0].text == "forged");
}

TEST_CASE("black box: a release that differs from the one in memory is no kernel's own text", "[blackbox]") {
  Crashed linux;
  linux.info["OSRELEASE"] = "6.1.0-2-test";
  linux.write();
  CHECK(BlackBox(linux.memory, {}).release().empty());
}

TEST_CASE("black box: memory without a kernel is said to be", "[blackbox]") {
  const GuestMemory memory(std::array{GuestMemory::Range{{0}, 0x100000}});
  const BlackBox box(memory, {});
  REQUIRE(box.troubles().size() == 1);
  CHECK_THAT(box.troubles()[0], Contains("no VMCOREINFO"));
  CHECK(box.log().lines.empty());
  CHECK(box.stack(CpuState()).empty());
}

TEST_CASE("black box: what is not understood is named, and the rest is told", "[blackbox]") {
  Crashed linux;
  linux.info.erase("SYMBOL(kallsyms_names)");
  linux.info.erase("SYMBOL(prb)");
  linux.set_symbol("log_buf", LinuxMemory::kText);
  linux.write();
  const BlackBox box(linux.memory, std::array{linux.cpu(0x1010)});
  REQUIRE(box.troubles().size() == 2);
  CHECK_THAT(box.troubles()[0], Contains("before 5.10"));
  CHECK_THAT(box.troubles()[1], Contains("Linux 6.0"));
  CHECK(box.release() == "6.1.0-1-test");
  CHECK(box.stack(linux.cpu(0x1010)).size() == 1);
}

namespace {

// As Crashed, on arm64: panic() has a frame, and so have its callers.
struct ArmCrashed : LinuxMemory {
  ArmCrashed() : LinuxMemory(Machine::kArm64) {
    add_code("panic", 0x1000);
    add_code("sysrq_handle_crash", 0x2000);
    add_code("vfs_write", 0x3000);
    add_code("__delay", 0x4000);
    log(1, 0, "Kernel panic - not syncing: sysrq triggered crash");
    record(0x10, 0x40, kCode + 0x2020);
    record(0x40, 0x80, kCode + 0x3030);
    write();
  }
  // One at `place` of the stack that leads to another there.
  void record(uint64_t place, uint64_t caller, uint64_t return_address) const {
    put(kStack + place, kImage + kStack + caller);
    put(kStack + place + 8, kImage + return_address);
  }
  CpuState crashed(uint64_t place, uint64_t fp, uint64_t lr) const {
    CpuState state = cpu(place);
    state.arm64()->x[29] = kImage + kStack + fp;
    state.arm64()->x[30] = kImage + kCode + lr;
    return state;
  }
};

}  // namespace

TEST_CASE("black box: release, log and stack of a dead arm64 kernel", "[blackbox]") {
  const ArmCrashed linux;
  const CpuState cpu = linux.crashed(0x1010, 0x10, 0x1008);
  const BlackBox box(linux.memory, std::array{cpu});
  CHECK(box.troubles().empty());
  CHECK(box.release() == "6.1.0-1-test");
  CHECK(box.kaslr_offset() == 0x400000);
  REQUIRE(box.log().lines.size() == 1);
  CHECK(text(box.stack(cpu)) == "panic+0x10 sysrq_handle_crash+0x20 vfs_write+0x30");
  CHECK(box.direct_map() == LinuxMemory::kArm64DirectMap);
}

TEST_CASE("black box: on arm64 the caller of a function without a record is in LR, and marked", "[blackbox]") {
  const ArmCrashed linux;
  const BlackBox box(linux.memory, std::array{linux.cpu(0)});
  // In a leaf called by panic(); at a function's start, where its own record is not there yet.
  CHECK(text(box.stack(linux.crashed(0x4004, 0x10, 0x1020))) ==
        "__delay+0x4 ?panic+0x20 sysrq_handle_crash+0x20 vfs_write+0x30");
  CHECK(text(box.stack(linux.crashed(0x1000, 0x40, 0x2020))) == "panic+0x0 ?sysrq_handle_crash+0x20 vfs_write+0x30");
  // Before its first call LR is what the record has.
  CHECK(text(box.stack(linux.crashed(0x1008, 0x10, 0x2020))) == "panic+0x8 sysrq_handle_crash+0x20 vfs_write+0x30");
  // No code.
  CHECK(text(box.stack(linux.crashed(0x4004, 0x10, uint64_t{0} - LinuxMemory::kCode))) ==
        "__delay+0x4 sysrq_handle_crash+0x20 vfs_write+0x30");
}

TEST_CASE("black box: an arm64 CPU in user space, or off, has no stack; one in circles an end", "[blackbox]") {
  const ArmCrashed linux;
  linux.record(0x80, 0x80, LinuxMemory::kCode + 0x3030);
  CpuState cpu = linux.crashed(0x4004, 0x10, 0x1020);
  const BlackBox box(linux.memory, std::array{cpu});
  CHECK(box.stack(cpu).size() <= 64);
  cpu.arm64()->pstate = 0;
  CHECK(box.stack(cpu).empty());
  cpu = linux.cpu(0);
  cpu.activity = CpuState::Activity::kNotStarted;
  CHECK(box.stack(cpu).empty());
  cpu = linux.cpu(0);
  cpu.arm64()->pc = 0x40200000;  // before it has page tables
  CHECK(box.stack(cpu).empty());
}

TEST_CASE("black box: an arm64 kernel's forgery that no CPU's page tables agree with is passed over", "[blackbox]") {
  const ArmCrashed linux;
  const CpuState cpu = linux.cpu(0);
  // Earlier in memory, with tables of its own at 0x200000 that are sound in themselves.
  ArmCrashed forged;
  forged.info["NUMBER(kimage_voffset)"] = fmt::format("{:#x}", LinuxMemory::kImage - 0x200000);
  forged.info["SYMBOL(prb)"] = "0";
  std::array<std::byte, 0x200000> image;
  REQUIRE(linux.memory.read(GuestAddress{LinuxMemory::kPhysical}, image));
  REQUIRE(linux.memory.write(GuestAddress{0x200000}, image));
  const std::string page = forged.info_text() + '\0';
  REQUIRE(linux.memory.write(GuestAddress{0x1000}, std::as_bytes(std::span(page))));
  const uint64_t root = 0x200000 + LinuxMemory::kTables;
  linux.memory.write_value(GuestAddress{root + 511 * 8}, root + 0x1003);
  linux.memory.write_value(GuestAddress{root + 0x1000 + 510 * 8}, root + 0x2003);
  linux.memory.write_value(GuestAddress{root + 0x2000 + 10 * 8}, uint64_t{0x200401});

  CHECK(BlackBox(linux.memory, std::array{cpu}).log().lines.size() == 1);
  // It is the CPU that tells.
  const BlackBox fooled(linux.memory, {});
  CHECK(fooled.release() == "6.1.0-1-test");
  CHECK(fooled.log().lines.empty());
}

TEST_CASE("black box: the image of a kernel that does not name its ends is what its symbols lie in", "[blackbox]") {
  ArmCrashed linux;
  linux.info["SYMBOL(mem_section)"] = fmt::format("{:x}", LinuxMemory::kArm64DirectMap + 0x1000);  // not in the image
  linux.write();
  auto image = BlackBox(linux.memory, {}).image();
  REQUIRE(image);
  CHECK(image->address == LinuxMemory::kImage + LinuxMemory::kTables);
  CHECK(image->physical == GuestAddress{LinuxMemory::kPhysical + LinuxMemory::kTables});
  CHECK(image->address + image->size == LinuxMemory::kImage + 0x1fffff);  // _end
  linux.symbols.push_back({'T', "_text", LinuxMemory::kImage});
  std::erase_if(linux.symbols, [](const LinuxMemory::Symbol& symbol) { return symbol.name == "_end"; });
  linux.write();
  image = BlackBox(linux.memory, {}).image();
  REQUIRE(image);
  CHECK(image->address == LinuxMemory::kImage);
  CHECK(image->size == LinuxMemory::kCode + 1);  // _stext
}
