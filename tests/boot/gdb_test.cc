// gdb and a real kernel, with its symbols, on two vCPUs.
#include "tests/support/gdb.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>

#include "tests/support/gdb_client.h"
#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

namespace {

// With another build ID.
std::string altered(const std::string& kernel) {
  std::ifstream file(kernel, std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(file), {});
  const std::string note("\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0", 16);
  const size_t at = bytes.rfind(note);  // the first is the vDSO's
  REQUIRE(at != bytes.npos);
  bytes[at + note.size()] ^= 1;
  return bytes;
}

struct Fixture {
  Words words(const Words& more) const {
    return Words{"--kernel", kernel, "--cpus", "2", "--mem", "256M", "--append", "quiet", "--gdb", "unix:" + socket} +
           tiny_initramfs() + more;
  }
  std::string debug(const Words& commands) const { return gdb(kernel, socket, commands); }

  TempDirectory folder;
  std::string kernel = image("KERNEL", "vmlinux");
  std::string socket = folder("g");
};

}  // namespace

TEST_CASE("gdb: attached to a running kernel on two vCPUs, and gone again", "[boot][gdb]") {
  const Fixture f;
  TestVm vm(f.words({"--vmlinux", f.folder.file("other", altered(f.kernel))}));
  vm.wait_for("tiny: ready");
  const std::string said =
      f.debug({"info threads", "thread 2", "info registers cr0 cr3 efer gs_base", "x/s (char *)&linux_banner",
               "thread 1", "bt 3", interrupt_after(3), "continue", "x/i $rip", "stepi", "p $rip", "monitor dmesg",
               "monitor info pci", "monitor info virtio", "monitor info irq", "monitor info mem", "detach"});
  CHECK_THAT(said, Contains("Thread 1 \"vcpu0\"") && Contains("Thread 2 \"vcpu1\""));
  CHECK_THAT(said, Contains("[ PE MP ET NE WP AM PG ]") && Contains("[ SCE LME LMA NXE ]"));
  CHECK_THAT(said, Contains("\"Linux version 6.1"));
  CHECK_THAT(said, Contains("default_idle"));
  CHECK_THAT(said, Contains("SIGINT") && Contains("Run /init as init process"));
  CHECK_THAT(said, Contains("virtio-rng, in use") && Contains("detached"));
  CHECK_THAT(said, Contains("  1af4:1044, revision 01, ") && Contains("  BAR 0: 32-bit memory at 0x") &&
                       Contains(": MSI-X, 2 vectors, enabled\n"));
  CHECK_THAT(said, Contains("features agreed, driven") && Contains("available index "));
  CHECK_THAT(said, Contains("IO-APIC  4: vector 0x") && Contains("MSI-X 1: data 0x") && Contains("vCPU 1: in service"));
  CHECK_THAT(said, Contains("RAM") && Contains("PCI window"));
  vm.wait_for_message("other' is not of the kernel that runs: its build ID is ");
  CHECK(vm.run("nproc; cat /proc/uptime | wc -l") == "2\n1");
  CHECK_THAT(f.debug({"info threads", "detach"}), Contains("vcpu1"));
  vm.run("true");
  vm.send("poweroff -f\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("gdb: KASLR's offset is found by itself, before start_kernel and when the kernel runs", "[boot][gdb]") {
  const Fixture f;
  TestVm vm(Words{"debug", "--kernel", image("KERNEL", "bzImage"), "--append", "quiet", "--gdb", "unix:" + f.socket,
                  "--vmlinux", f.kernel} +
            tiny_initramfs());
  vm.wait_for_message("the kernel is unpacked, and moved by 0x");
  vm.wait_for_message("target remote " + f.socket);
  CHECK_THAT(f.debug({"bt 1", "x/i start_kernel", "detach"}),
             Contains("startup_64 ()") && Contains("<start_kernel>:\tpush"));
  vm.wait_for("tiny: ready");
  // An idle guest has its moments of work, too.
  std::string stack;
  for (int tries = 0; tries < 20 && stack.find("default_idle") == std::string::npos; ++tries) {
    stack = f.debug({"bt 3", "detach"});
  }
  CHECK_THAT(stack, Contains("default_idle"));
  CHECK_THAT(f.debug({"x/s (char *)&linux_banner", "kill"}), Contains("\"Linux version 6.1"));
  CHECK(vm.wait_exit() == 130);
  CHECK_THAT(vm.messages(), !Contains("is not of the kernel"));
}

TEST_CASE("gdb: from the first instruction, by steps", "[boot][gdb]") {
  const Fixture f;
  TestVm vm(Words{"debug"} + f.words({}));
  vm.wait_for_message("target remote " + f.socket);
  const std::string said = f.debug({"info threads", "x/i $rip", "stepi", "stepi", "x/2i start_kernel", "detach"});
  CHECK_THAT(said, Contains("\"vcpu1\" (not started)") && Contains("<start_kernel>:\tpush"));
  vm.wait_for("tiny: ready");
  vm.send("poweroff -f\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("gdb: breakpoints of a real kernel, from start_kernel on", "[boot][gdb]") {
  if (!breakpoints_work()) {
    WARN("skipped: the CPU here does not stop at a guest's breakpoints");
    return;
  }
  const Fixture f;
  TestVm vm(Words{"debug"} + f.words({}));
  vm.wait_for_message("target remote " + f.socket);
  const std::string said =
      f.debug({"break start_kernel", "continue", "bt", "x/8bx start_kernel", "stepi", "break kernel_init", "continue",
               "info threads", "delete", "watch *(unsigned long *)&jiffies", "continue", "continue", "delete",
               "hbreak do_sys_openat2", "continue", "bt 2", "finish", "delete", "detach"});
  CHECK_THAT(said, Contains("Breakpoint 1, 0x") && Contains("in start_kernel ()"));
  CHECK_THAT(said, Contains("Breakpoint 2, 0x") && Contains("in kernel_init ()"));
  CHECK_THAT(said, Contains("Hardware watchpoint 3") && Contains("Old value"));
  CHECK_THAT(said, Contains("in do_sys_openat2 ()") && Contains(" in __x64_sys_openat ()\n[Inferior 1"));
  vm.wait_for("tiny: ready");
  vm.send("poweroff -f\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("gdb: breakpoints of the guest's own are the guest's, on each of two vCPUs", "[boot][gdb]") {
  if (!breakpoints_work()) {
    WARN("skipped: the CPU here does not stop at a guest's breakpoints");
    return;
  }
  const TempDirectory files;
  TestVm vm(debian_kernel() + Words{"--disk", tiny_disk() + ",ephemeral", "--cpus", "2", "--gdb=unix:" + files("gdb")});
  vm.wait_for("tiny: ready");
  // An ELF program of one instruction, INT3, at 0x400078.
  vm.run(
      R"(printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\76\0\1\0\0\0\170\0\100\0\0\0\0\0\100\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0)"
      R"(\0\0\0\0\100\0\070\0\1\0\0\0\0\0\0\0\1\0\0\0\5\0\0\0\0\0\0\0\0\0\0\0\0\0\100\0\0\0\0\0\0\0\100\0\0\0\0\0)"
      R"(\171\0\0\0\0\0\0\0\171\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\314' >/tmp/int3; chmod +x /tmp/int3)");
  const std::string sync = vm.run("grep -m1 ' ksys_sync$' /proc/kallsyms | cut -d' ' -f1");
  {
    GdbClient gdb(files("gdb"));
    CHECK_THAT(gdb.ask("?"), StartsWith("T05"));
    CHECK(gdb.ask("Z0," + sync + ",1") == "OK");
    gdb.send("vCont;c");
    constexpr const char* kSigtrap = "133";
    CHECK(vm.run("/tmp/int3 >/dev/null 2>&1; echo $?") == kSigtrap);
    // Linux changes its code beneath both CPUs, behind an INT3 (arch/x86/kernel/alternative.c).
    CHECK(
        vm.run(
            "n=0; while [ $n -lt 40 ]; do n=$((n+1)); echo $((n%2)) >/proc/sys/kernel/sched_schedstats; done; echo $n",
            std::chrono::seconds(120)) == "40");
  }
  vm.run("sync");  // the breakpoint is gone with its debugger
  vm.send("poweroff -f\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("gdb: with --on-panic gdb a panic waits for it, and ends the run when it has gone", "[boot][gdb]") {
  const Fixture f;
  TestVm vm(f.words({"--on-panic", "gdb"}));
  vm.wait_for("# ");
  vm.send("sleep 1; echo c >/proc/sysrq-trigger\n");  // when all that was typed has been echoed
  vm.wait_for_message("kernel panic: ");
  vm.wait_for_message("target remote " + f.socket);
  CHECK_THAT(f.debug({"info threads", "monitor why", "detach"}), Contains("panic"));
  CHECK(vm.wait_exit() == 96);
}
