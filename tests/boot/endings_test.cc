// How real guests end, and the exit code and words for it.
#include <catch2/catch.hpp>

#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

TEST_CASE("ending: a panic ends with 96 and its reason", "[boot][ending]") {
  TestVm vm(small_kernel() + tiny_initramfs("echo c >/proc/sysrq-trigger"));
  CHECK(vm.wait_exit() == 96);
  CHECK_THAT(vm.messages(), Contains("vmm: kernel panic at ") && Contains("sysrq triggered crash"));
}

TEST_CASE("ending: a panic that reboots by itself is still a panic", "[boot][ending]") {
  TestVm vm(small_kernel() + tiny_initramfs("echo c >/proc/sysrq-trigger") +
            Words{"--append", "panic=-1", "--on-reset", "reboot"});
  CHECK(vm.wait_exit() == 96);
}

TEST_CASE("ending: a dead init ends with 101", "[boot][ending]") {
  TestVm vm(small_kernel() + tiny_initramfs() + Words{"--append", "rdinit=/bin/false"});
  CHECK(vm.wait_exit() == 101);
  CHECK_THAT(vm.messages(), Contains("Attempted to kill init"));
}

TEST_CASE("ending: a guest that halts for good has hung, one that is idle has not", "[boot][ending]") {
  TestVm halted(small_kernel() + tiny_initramfs("halt -f") + Words{"--hang-timeout", "2", "--cpus", "2"});
  CHECK(halted.wait_exit() == 102);
  CHECK_THAT(halted.messages(), Contains("vmm: no progress for 2 s: all vCPUs are halted with interrupts off"));
  CHECK_THAT(halted.messages(), Contains("reboot: System halted") && Contains("vCPU 1: halted in "));
  TestVm idle(small_kernel() + tiny_initramfs("sleep 6; poweroff -f") + Words{"--hang-timeout", "1", "--cpus", "2"});
  CHECK(idle.wait_exit() == 0);
}

TEST_CASE("ending: no root disk ends with 100 and says what to pass", "[boot][ending]") {
  TestVm vm(small_kernel());
  CHECK(vm.wait_exit() == 100);
  CHECK_THAT(vm.messages(), Contains("Unable to mount root fs") && Contains("  fix: pass a root disk with --disk"));
}

TEST_CASE("ending: a kernel without drivers for its disk ends with 100 and says so", "[boot][ending]") {
  TestVm vm({"--kernel", image("DEBIAN_KERNEL", "vmlinuz"), "--append", "quiet", "--disk", tiny_disk() + ",ro"});
  CHECK(vm.wait_exit() == 100);
  CHECK_THAT(vm.messages(), Contains("no driver took the disk") && Contains("--initrd"));
}

TEST_CASE("ending: a disk without a file system ends with 100, and its driver is not blamed", "[boot][ending]") {
  const TempFile disk(1 << 20);
  TestVm vm(small_kernel() + Words{"--disk", disk.path()});
  CHECK(vm.wait_exit() == 100);
  CHECK_THAT(vm.messages(), Contains("Unable to mount root fs") && !Contains("no driver took the disk"));
}

TEST_CASE("ending: a reboot ends with 104, and reboots when told to", "[boot][ending]") {
  TestVm once(small_kernel() + tiny_initramfs("reboot -f"));
  CHECK(once.wait_exit() == 104);
  TestVm twice(small_kernel() + tiny_initramfs("reboot -f") + Words{"--on-reset", "reboot"});
  twice.wait_for("tiny: ready");
  twice.wait_for("tiny: ready");
  twice.signal(SIGTERM);
  CHECK(twice.wait_exit() == 143);
}

TEST_CASE("ending: an old panic that is merely printed ends nothing", "[boot][ending]") {
  TestVm vm(small_kernel() + tiny_initramfs());
  vm.wait_for("tiny: ready");
  vm.run("echo '[    1.0] Kernel panic - not syncing: old'; echo '---[ end Kernel panic - not syncing: old ]---'");
  vm.settle(std::chrono::milliseconds(3000));
  CHECK(vm.run("echo alive") == "alive");
  vm.send("exit\n");
  CHECK(vm.wait_exit() == 0);
}
