// The ARM machine: stock Debian kernels in it, and how they end. The images are those of guest-images/get NAME-arm64.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <ctime>
#include <string>
#include <utility>

#include "tests/support/guests.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

TEST_CASE("aarch64: Debian's kernel boots from a disk on two CPUs, and finds all of the machine", "[boot]") {
  TestVm vm(debian_kernel() + Words{"--disk", tiny_disk() + ",ephemeral,serial=ROOT-7", "--cpus", "2", "--mem", "5G"});
  vm.wait_for_message("arm64 Image 6.");
  vm.wait_for("tiny: ready");
  CHECK(vm.run("nproc") == "2");
  CHECK(std::stol(vm.run("grep MemTotal /proc/meminfo | tr -dc 0-9")) > 4'800'000);
  CHECK(vm.run("cat /proc/cmdline") == "console=ttyAMA0 root=/dev/vda rw quiet");
  CHECK(vm.run("cat /sys/block/vda/serial") == "ROOT-7");
  CHECK_THAT(vm.run("cat /proc/interrupts"),
             Contains("virtio0-req.0") && Contains("uart-pl011") && Contains("ITS-MSI"));
  CHECK(vm.run("cat /sys/class/rtc/rtc0/name") == "rtc-pl031 9010000.rtc");
  CHECK(std::abs(std::stol(vm.run("cat /sys/class/rtc/rtc0/since_epoch")) - std::time(nullptr)) < 30);
  CHECK(vm.run("dmesg | grep -iE 'OF: .*(fail|invalid)|BUG|WARNING|error -'") == "");
  CHECK(vm.run("dd if=/dev/zero of=/root/x bs=4k count=16 conv=fsync 2>&1 | head -1") == "16+0 records in");
  vm.send("poweroff\n");
  CHECK(vm.wait_exit() == 0);
  CHECK_THAT(vm.messages(), Contains("vmm: guest powered off"));
}

TEST_CASE("aarch64: a panic ends with 96, and a reboot with 104", "[boot]") {
  const auto guest = [](const std::string& command) {
    return Words{"--kernel", image("DEBIAN_KERNEL", "vmlinuz"), "--append", "quiet"} + tiny_initramfs(command);
  };
  TestVm dies(guest("echo c >/proc/sysrq-trigger"));
  CHECK(dies.wait_exit() == 96);
  CHECK_THAT(dies.messages(), Contains("vmm: kernel panic") && Contains("sysrq triggered crash"));
  TestVm reboots(guest("reboot -f"));
  CHECK(reboots.wait_exit() == 104);
  CHECK_THAT(reboots.messages(), Contains("guest asked for a reset (PSCI)"));
}

TEST_CASE("aarch64: a command runs in it, and its status is the run's", "[boot]") {
  TestVm vm({"--kernel", image("DEBIAN_KERNEL", "vmlinuz"), "--modules", image("DEBIAN_KERNEL", ""), "--disk",
             tiny_disk() + ",ephemeral", "--", "sh", "-c", "uname -m; exit 7"});
  CHECK(vm.wait_exit() == 7);
  CHECK(vm.output() == "aarch64\n");
}

TEST_CASE("aarch64: what is not there for it yet is refused", "[boot]") {
  for (const auto& [flag, value] : {std::pair{"--vmcore", "core"},
                                    {"--trace", "trace"},
                                    {"--on-panic", "gdb"},
                                    {"--gdb=unix:g", "--paused"},
                                    {"--vmlinux", "vmlinux"}}) {
    TestVm vm({"--kernel", image("DEBIAN_KERNEL", "vmlinuz"), flag, value});
    CHECK(vm.wait_exit() == 125);
    CHECK_THAT(vm.messages(), Contains("is not there for aarch64 guests yet"));
  }
}
