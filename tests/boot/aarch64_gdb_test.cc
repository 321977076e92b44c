// gdb's stub and ARM guests, by packets: the lab has no gdb that runs in it.
#include <fmt/core.h>

#include <catch2/catch.hpp>
#include <string>

#include "tests/support/gdb_client.h"
#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

namespace {

constexpr unsigned kX0 = 0, kSp = 31, kPc = 32, kCpsr = 33;

// Of a function or variable of the kernel that runs, as the guest itself says.
uint64_t address_of(TestVm& vm, const std::string& name) {
  return std::stoull(vm.run("grep -m1 ' " + name + "$' /proc/kallsyms | cut -d' ' -f1"), nullptr, 16);
}

// The host name of the kernel's own, which its VMCOREINFO leads to: Debian's kernels do not name their data. Without
// KASLR all of memory is mapped from the beginning of the upper half on.
uint64_t host_name_of(GdbClient& gdb, const std::string& note) {
  constexpr uint64_t kMemory = 0xffff000000000000, kRam = 0x40000000;
  constexpr uint64_t kNodeName = 65;  // in struct new_utsname
  const uint64_t at = kMemory + std::stoull(note, nullptr, 16) - kRam;
  std::string text;
  for (unsigned part = 0; part < 4; ++part) text += gdb.text(at + part * 1000, 1000);
  const auto value = [&text](const std::string& key, int base) {
    return std::stoull(text.substr(text.find(key) + key.size()), nullptr, base);
  };
  return value("SYMBOL(init_uts_ns)=", 16) + value("OFFSET(uts_namespace.name)=", 10) + kNodeName;
}

}  // namespace

TEST_CASE("aarch64 gdb: before its first instruction a kernel can be stepped", "[boot][gdb]") {
  const TempDirectory files;
  TestVm vm(debian_kernel() + Words{"--gdb=unix:" + files("gdb"), "--paused"});
  vm.wait_for_message("gdb: ");
  GdbClient gdb(files("gdb"));
  CHECK_THAT(gdb.ask("qSupported:swbreak+"), Contains("qXfer:features:read+"));
  CHECK_THAT(gdb.ask("qXfer:features:read:target.xml:0,1000"), Contains("org.gnu.gdb.aarch64.core"));
  const uint64_t start = gdb.reg(kPc);
  CHECK(gdb.memory(gdb.reg(kX0), 4) == 0xedfe0dd0);  // the device tree's magic, which is big-endian
  CHECK((gdb.reg(kCpsr) & 0xf) == 5);                // EL1h
  // The kernel begins with a no-op that spells MZ, and a branch.
  CHECK_THAT(gdb.ask("vCont;s:1"), StartsWith("T05"));
  CHECK(gdb.reg(kPc) == start + 4);
  CHECK_THAT(gdb.ask("vCont;s:1"), StartsWith("T05"));
  CHECK(gdb.reg(kPc) > start + 8);
  CHECK(gdb.ask("P0=efbeadde00000000") == "OK");
  CHECK(gdb.reg(kX0) == 0xdeadbeef);
  gdb.send("k");
  CHECK(vm.wait_exit() == 130);
}

TEST_CASE("aarch64 gdb: a kernel that runs stops at breakpoints of both kinds, and at data", "[boot][gdb]") {
  const TempDirectory files;
  TestVm vm(debian_kernel() + Words{"--cpus", "2", "--append", "nokaslr", "--gdb=unix:" + files("gdb")});
  vm.wait_for("tiny: ready");
  const uint64_t sync = address_of(vm, "ksys_sync");
  const std::string note = vm.run("cat /sys/kernel/vmcoreinfo");
  GdbClient gdb(files("gdb"));
  CHECK_THAT(gdb.ask("?"), StartsWith("T05"));
  const uint64_t instruction = gdb.memory(sync, 4);

  SECTION("an instruction") {
    CHECK(gdb.ask(fmt::format("Z0,{:x},4", sync)) == "OK");
    CHECK(gdb.memory(sync, 4) == instruction);
    gdb.send("vCont;c");
    vm.send("sync\n");
    CHECK_THAT(gdb.next(), StartsWith("T05"));
    CHECK(gdb.reg(kPc) == sync);
    CHECK(gdb.reg(kSp) >> 48 == 0xffff);
    CHECK(gdb.ask(fmt::format("z0,{:x},4", sync)) == "OK");
    CHECK(gdb.memory(sync, 4) == instruction);
  }
  SECTION("a register") {
    CHECK(gdb.ask(fmt::format("Z1,{:x},4", sync)) == "OK");
    gdb.send("vCont;c");
    vm.send("sync\n");
    CHECK_THAT(gdb.next(), StartsWith("T05"));
    CHECK(gdb.reg(kPc) == sync);
    CHECK(gdb.ask(fmt::format("z1,{:x},4", sync)) == "OK");
  }
  SECTION("data") {
    const uint64_t host_name = host_name_of(gdb, note);
    CHECK(gdb.text(host_name, 4) == "tiny");
    CHECK(gdb.ask(fmt::format("Z2,{:x},4", host_name)) == "OK");
    gdb.send("vCont;c");
    vm.send("hostname watched\n");
    CHECK_THAT(gdb.next(), Contains("watch:"));
    CHECK(gdb.text(host_name, 4) == "tiny");  // ARM tells before the write
    CHECK(gdb.ask(fmt::format("z2,{:x},4", host_name)) == "OK");
  }
  CHECK(gdb.ask("D") == "OK");
  CHECK(vm.run("echo goes on") == "goes on");
  vm.send("poweroff\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("aarch64 gdb: a breakpoint of the guest's own is the guest's", "[boot][gdb]") {
  const TempDirectory files;
  TestVm vm(debian_kernel() + Words{"--gdb=unix:" + files("gdb")});
  vm.wait_for("tiny: ready");
  // An ELF program of one instruction, BRK #0, at 0x400078.
  vm.run(
      R"(printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\267\0\1\0\0\0\170\0\100\0\0\0\0\0\100\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0)"
      R"(\0\0\0\0\100\0\070\0\1\0\0\0\0\0\0\0\1\0\0\0\5\0\0\0\0\0\0\0\0\0\0\0\0\0\100\0\0\0\0\0\0\0\100\0\0\0\0\0)"
      R"(\174\0\0\0\0\0\0\0\174\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\040\324' >/tmp/brk; chmod +x /tmp/brk)");
  const uint64_t sync = address_of(vm, "ksys_sync");
  {
    GdbClient gdb(files("gdb"));
    CHECK_THAT(gdb.ask("?"), StartsWith("T05"));
    CHECK(gdb.ask(fmt::format("Z0,{:x},4", sync)) == "OK");
    gdb.send("vCont;c");
    constexpr const char* kSigtrap = "133";
    CHECK(vm.run("/tmp/brk >/dev/null 2>&1; echo $?") == kSigtrap);
  }
  // It is gone, and with it its breakpoint.
  vm.run("sync");
  vm.send("poweroff\n");
  CHECK(vm.wait_exit() == 0);
}
