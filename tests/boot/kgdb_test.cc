// A kernel's own debugger on the serial line that it shares with the console, and gdb at the line's other end.
#include <catch2/catch.hpp>

#include "tests/support/gdb.h"
#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

struct Fixture {
  Words words() const {
    return small_kernel() + tiny_initramfs() + Words{"--cpus",   "2",
                                                     "--append", "nokaslr kgdboc=ttyS0 sysrq_always_enabled",
                                                     "--serial", "stdio,split-gdb=unix:" + folder("g"),
                                                     "--ctl",    folder("s")};
  }
  std::string debug(const Words& commands) const {
    return gdb(image("KERNEL", "vmlinux"), folder("g"), Words{"set remotetimeout 60"} + commands);
  }

  TempDirectory folder;
};

}  // namespace

TEST_CASE("kgdb: gdb enters a kernel on two CPUs, breaks in it and leaves, while the console goes on", "[boot][gdb]") {
  const Fixture f;
  TestVm vm(f.words());
  vm.wait_for("# ");
  // One process alone meets the breakpoint: Linux 6.1 forgets a second CPU that has met it when gdb leaves, and has it
  // wait for gdb.
  vm.start("while sync; do usleep 500000; done");
  const std::string said = f.debug({"bt 4", "break __x64_sys_sync", "continue", "bt 2", "delete", "detach"});
  CHECK_THAT(said, Contains("kgdb_breakpoint ()"));
  CHECK_THAT(said, Contains("Breakpoint 1, ") && Contains("in __x64_sys_sync ()"));
  CHECK(vm.run("echo on") == "on");
  vm.send("poweroff -f\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("kgdb: a kernel that a SysRq stopped waits for gdb, and is not hung", "[boot][gdb]") {
  const Fixture f;
  TestVm vm(f.words());
  vm.wait_for("# ");
  TestVm key({"sysrq", "g", f.folder("s")});
  CHECK(key.wait_exit() == 0);
  vm.settle(std::chrono::seconds(25));
  CHECK_THAT(f.debug({"bt 4", "detach"}), Contains("kgdb_breakpoint ()"));
  CHECK(vm.run("echo on") == "on");
  vm.send("poweroff -f\n");
  CHECK(vm.wait_exit() == 0);
}
