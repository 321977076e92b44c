// A real kernel steered from outside: `vmm VERB NAME`.
#include <catch2/catch.hpp>

#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

TEST_CASE("control: why and dmesg read a quiet kernel's memory, sysrq reaches it, its panic waits", "[boot][control]") {
  const TempDirectory folder;
  TestVm vm(small_kernel() + tiny_initramfs() +
            Words{"--append", "sysrq_always_enabled", "--ctl", folder("s"), "--on-panic", "pause"});
  vm.wait_for("tiny: ready");
  CHECK_THAT(pause_at(folder("s"), "vCPU 0: halted in "), Contains("Linux 6.1"));
  CHECK(say({"resume", folder("s")}).empty());
  const std::string log = say({"dmesg", folder("s")});
  CHECK_THAT(log, Contains("Linux version 6.1") && Contains("Run /init as init process"));
  CHECK(say({"sysrq", "w", folder("s")}).empty());
  vm.wait_for("Show Blocked State");
  CHECK(say({"sysrq", "c", folder("s")}).empty());
  vm.wait_for_message("paused, as --on-panic pause says: vmm why|dump|resume|kill " + folder("s"));
  CHECK_THAT(say({"stats", folder("s")}), Contains("paused"));
  CHECK_THAT(say({"why", folder("s")}), Contains("panic: sysrq triggered crash"));
  CHECK_THAT(say({"dump", folder("s"), folder("core")}), Contains("vmcore: " + folder("core")));
  CHECK_THAT(say({"why", folder("core")}), Contains("panic: sysrq triggered crash"));
  // It goes on, to no good; who sees that ends it.
  CHECK(say({"resume", folder("s")}).empty());
  CHECK_THAT(say({"stats", folder("s")}), Contains("running"));
  CHECK(say({"kill", folder("s")}).empty());
  CHECK(vm.wait_exit() == 130);
  CHECK_THAT(vm.messages(), Contains("kernel panic: ") && Contains("sysrq triggered crash"));
}

TEST_CASE("control: poweroff presses the power button, and the guest ends by itself", "[boot][control]") {
  const TempDirectory folder;
  TestVm vm(small_kernel() + tiny_initramfs() + Words{"--ctl", folder("s")});
  wait_for_acpid(vm);
  CHECK(say({"poweroff", folder("s")}).empty());
  CHECK(vm.wait_exit() == 0);
  CHECK_THAT(vm.messages(), Contains("vmm: guest powered off"));
}
