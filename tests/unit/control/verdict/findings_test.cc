// What the black box found, in words.
#include "vmm/control/verdict/findings.h"

#include <array>
#include <catch2/catch.hpp>

#include "tests/support/linux_memory.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

struct Kernel : LinuxMemory {
  Kernel() {
    add_code("panic", 0x1000);
    add_code("sysrq_handle_crash", 0x2000);
    add_code("vfs_write", 0x3000);
    add_code("default_idle", 0x4000);
    add_code("do_idle", 0x5000);
    add_code("start_kernel", 0x6000);
    for (uint64_t function = 1; function <= 6; ++function) {
      const bool ends = function == 3 || function == 5;
      const uint16_t by_stack_pointer = 5;
      orc.push_back({kImage + kCode + function * 0x1000, 8, 0, ends ? uint16_t{0} : by_stack_pointer});
    }
    // From kStack: panic's caller, and its caller; from kStack + 0x100: that of the idle loop.
    put(kStack, return_address(0x2020));
    put(kStack + 8, return_address(0x3030));
    put(kStack + 0x100, return_address(0x5050));
  }
};

}  // namespace

TEST_CASE("findings: who called panic, and what the others do", "[findings]") {
  Kernel linux;
  linux.log(1'500'000'000, 6, "before");
  linux.log(2'440'000'000, 0, "Kernel panic - not syncing: sysrq triggered crash");
  linux.log(2'450'000'000, 0, "---[ end Kernel panic - not syncing: sysrq triggered crash ]---");
  linux.write();
  std::array<CpuState, 5> cpus;
  cpus.fill(linux.cpu(0x1010, LinuxMemory::kStack));
  for (unsigned id = 0; id < cpus.size(); ++id) cpus[id].id = id;
  cpus[1] = linux.cpu(0x4004, LinuxMemory::kStack + 0x100);
  cpus[1].id = 1;
  cpus[1].activity = CpuState::Activity::kHalted;
  cpus[2].x86()->privilege = 3;
  cpus[2].x86()->rip = 0x7f0012345678;
  cpus[3].activity = CpuState::Activity::kNotStarted;
  cpus[4].x86()->rip = 0x101234;

  const Findings findings = Findings::of(linux.memory, cpus);
  CHECK(findings.kernel == "Linux 6.1.0-1-test, KASLR offset 0x400000");
  CHECK(findings.kaslr == "0x400000");
  CHECK(findings.cpus[0].place == "panic+0x10");
  CHECK(findings.cpus[0].stack == std::vector<std::string>{"panic+0x10", "sysrq_handle_crash", "vfs_write"});
  CHECK(findings.cpus[3].place.empty());
  CHECK(findings.cpus[4].place == "0x101234");
  CHECK(findings.cpus[4].stack.empty());
  REQUIRE(findings.panic);
  CHECK(findings.panic->reason == "sysrq triggered crash");
  CHECK(findings.panic->seconds == Approx(2.44));
  CHECK(findings.stacks() ==
        "  stack: sysrq_handle_crash < vfs_write\n"
        "  vCPU 1: halted in default_idle+0x4 < do_idle\n"
        "  vCPU 2: in user space at 0x7f0012345678\n"
        "  vCPU 3: not started\n"
        "  vCPU 4: at RIP 0x101234\n");
  CHECK(findings.log_tail(1) == "  | [    2.450000] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\n");
  CHECK(findings.log_tail(100).starts_with("  | [    1.500000] before\n"));
}

TEST_CASE("findings: an old panic that was merely printed is none", "[findings]") {
  Kernel linux;
  linux.log(1, 0, "Kernel panic - not syncing: old");
  linux.log(2, 0, "---[ end Kernel panic - not syncing: old ]---");
  linux.log(3, 0, "and on it goes");
  linux.write();
  CHECK_FALSE(Findings::of(linux.memory, {}).panic);
}

TEST_CASE("findings: a crash kernel is known by what it was told", "[findings]") {
  const auto [line, is] =
      GENERATE(table<std::string, bool>({{"Kernel command line: console=ttyS0 elfcorehdr=0x2b000000 nr_cpus=1", true},
                                         {"Command line: elfcorehdr=0x2b000000 quiet", true},
                                         {"Reserving 4 KiB of memory at 0x5f000000 for elfcorehdr", true},
                                         {"Kernel command line: console=ttyS0 crashkernel=128M", false},
                                         {"kexec: elfcorehdr= is missing", false}}));
  Kernel linux;
  linux.log(0, 0, line);
  linux.write();
  CHECK(Findings::of(linux.memory, {}).crash_kernel == is);
}

TEST_CASE("findings: user space was reached where the log or a vCPU proves it", "[findings]") {
  Kernel linux;
  linux.add_code("entry_SYSCALL_64_after_hwframe", 0x7000);
  linux.put(LinuxMemory::kStack + 0x200, linux.return_address(0x7070));
  linux.log(1, 6, "smp: Brought up 1 node, 1 CPU");
  linux.write();
  CpuState cpu = linux.cpu(0x4004, LinuxMemory::kStack + 0x100);
  const auto reached = [&linux, &cpu] { return Findings::of(linux.memory, std::array{cpu}).user_space; };
  CHECK_FALSE(reached());
  CHECK(Findings::of(linux.memory, {}).log_whole);
  SECTION("it is there") {
    cpu.x86()->privilege = 3;
    CHECK(reached());
  }
  SECTION("it is in a system call") {
    cpu.x86()->rsp = LinuxMemory::kImage + LinuxMemory::kStack + 0x200;
    CHECK(reached());
  }
  SECTION("the kernel has started init") {
    linux.log(2, 6, "Run /init as init process");
    linux.write();
    CHECK(reached());
  }
  SECTION("a program has written to the log") {
    linux.log(2, 6, "hello", 2, 1);
    linux.write();
    CHECK(reached());
  }
}

TEST_CASE("findings: frames that were only looked for are marked", "[findings]") {
  Kernel linux;
  linux.orc.clear();
  linux.write();
  const CpuState cpu = linux.cpu(0x4004, LinuxMemory::kStack + 0x100);
  CHECK(Findings::of(linux.memory, std::array{cpu}).stacks() == "  vCPU 0: in default_idle+0x4 < ? do_idle\n");
}

TEST_CASE("findings: without a kernel the registers are what there is", "[findings]") {
  const GuestMemory memory(std::array{GuestMemory::Range{{0}, 0x100000}});
  CpuState cpu;
  cpu.x86()->rip = 0x100010;
  cpu.activity = CpuState::Activity::kHalted;
  const Findings findings = Findings::of(memory, std::array{cpu});
  CHECK(findings.kernel.empty());
  CHECK_THAT(findings.stacks(), Contains("  vCPU 0: halted at RIP 0x100010\n  no VMCOREINFO in guest memory"));
  CHECK(findings.log_tail(20).empty());
}

TEST_CASE("findings: a guest that went back to real mode is told there is no BIOS", "[findings]") {
  const GuestMemory memory(std::array{GuestMemory::Range{{0}, 0x100000}});
  CpuState cpu;
  cpu.x86()->cs.selector = 0x7000;
  cpu.x86()->rip = 0x4b61;
  CHECK_THAT(Findings::of(memory, std::array{cpu}).stacks(),
             Contains("  vCPU 0: at 7000:4b61 in real mode (there is no BIOS)\n"));
}

TEST_CASE("findings: an arm64 guest without a kernel is somewhere as well", "[findings]") {
  const GuestMemory memory(std::array{GuestMemory::Range{{0}, 0x100000}});
  const CpuState cpu{.registers = Arm64Registers{.pc = 0x40200000, .pstate = 5}};
  CHECK_THAT(Findings::of(memory, std::array{cpu}).stacks(), Contains("  vCPU 0: at PC 0x40200000\n"));
}
