// The ARM machine: stock Debian kernels in it, how they end, and what their memory tells. The images are those of
// guest-images/get NAME-arm64.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <ctime>
#include <string>
#include <utility>

#include "tests/support/descriptors.h"
#include "tests/support/guests.h"
#include "tests/support/kernel_log.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;
using Catch::Matchers::Matches;

TEST_CASE("aarch64: Debian's kernel boots from a disk on two CPUs, and finds all of the machine", "[boot][gic]") {
  TestVm vm(debian_kernel() + Words{"--disk", tiny_disk() + ",ephemeral,serial=ROOT-7", "--cpus", "2", "--mem", "5G"});
  vm.wait_for_message("arm64 Image 6.");
  vm.wait_for("tiny: ready");
  CHECK(vm.run("nproc") == "2");
  CHECK(std::stol(vm.run("grep MemTotal /proc/meminfo | tr -dc 0-9")) > 4'800'000);
  CHECK(vm.run("cat /proc/cmdline") == "console=ttyAMA0 root=/dev/vda rw quiet");
  CHECK(vm.run("cat /sys/block/vda/serial") == "ROOT-7");
  CHECK_THAT(vm.run("cat /proc/interrupts"),
             Contains("virtio0-req.0") && Contains("uart-pl011") && (Contains("ITS-MSI") || Contains("GIC-0")));
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

TEST_CASE("aarch64: poweroff presses the power button, and the guest ends by itself", "[boot]") {
  // Debian's cloud kernel has no driver for it, and this one has a module.
  TestVm vm({"--kernel", image("DEBIAN_FULL_KERNEL", "vmlinuz"), "--append", "quiet", "--initrd", "auto", "--modules",
             image("DEBIAN_FULL_KERNEL", ""), "--disk", tiny_disk() + ",ephemeral", "--name", "aarch64-test"});
  wait_for_acpid(vm);
  say({"poweroff", "aarch64-test"});
  CHECK(vm.wait_exit() == 0);
  CHECK_THAT(vm.messages(), Contains("vmm: guest powered off"));
}

TEST_CASE("aarch64: a command runs in it, and its status is the run's", "[boot]") {
  TestVm vm({"--kernel", image("DEBIAN_KERNEL", "vmlinuz"), "--modules", image("DEBIAN_KERNEL", ""), "--disk",
             tiny_disk() + ",ephemeral", "--", "sh", "-c", "uname -m; exit 7"});
  CHECK(vm.wait_exit() == 7);
  CHECK(vm.output() == "aarch64\n");
}

TEST_CASE("aarch64: a panic is told with its log and stack, and its vmcore tells the same", "[boot][blackbox]") {
  const TempDirectory folder;
  const std::string core = folder("core"), serial = folder("serial");
  TestVm vm(debian_kernel() + Words{"--append", "ignore_loglevel", "--append",
                                    "tiny.run=\"echo c >/proc/sysrq-trigger\"", "--cpus", "2", "--serial",
                                    "file=" + serial, "--vmcore", core});
  CHECK(vm.wait_exit() == 96);
  CHECK_THAT(vm.messages(), Contains(": sysrq triggered crash") && Contains("  core: " + core));
  const std::string kernel = line_with(vm.messages(), "KASLR"), stack = line_with(vm.messages(), "  stack: ");
  CHECK_THAT(kernel, Matches("  Linux 6[.].*-cloud-arm64, KASLR offset 0x[0-9a-f]+0000"));
  CHECK_THAT(stack, Matches("  stack: sysrq_handle_crash < .*__handle_sysrq.* < write_sysrq_trigger < proc_reg_write < "
                            "vfs_write < .*"));
  // The other one does what the panic made it do.
  CHECK_THAT(line_with(vm.messages(), "  vCPU "), Matches("  vCPU [01]: in [a-z0-9_.]+[+]0x.* < .*"));

  CHECK_THAT(say({"why", core}), Contains(kernel.substr(2)) && Contains(stack.substr(stack.find("sysrq_"))));
  const std::vector<std::string> log = kernel_lines(contents(serial));
  CHECK(log.size() > 200);
  CHECK(kernel_lines(say({"dmesg", core})) == log);
}

TEST_CASE("aarch64: a panic that the kernel printed nowhere is found in memory", "[boot][blackbox]") {
  // Its init cannot open /dev/console.
  TestVm vm(debian_kernel() + Words{"--serial", "null", "--append", "console=none panic=-1"});
  CHECK(vm.wait_exit() == 101);
  CHECK_THAT(vm.messages(), Contains("vmm: kernel panic at ") && Contains("Attempted to kill init!"));
  CHECK_THAT(line_with(vm.messages(), "  stack: "), Contains("do_exit") && Contains(" < do_group_exit < "));
}

TEST_CASE("aarch64: a guest that halts for good has hung, and it is told where", "[boot][blackbox]") {
  TestVm vm(debian_kernel() + Words{"--append", "tiny.run=\"halt -f\"", "--hang-timeout", "2"});
  CHECK(vm.wait_exit() == 102);
  CHECK_THAT(vm.messages(), Contains("vmm: no progress for 2 s: vCPU 0 spins with interrupts off") &&
                                Contains("reboot: System halted"));
  CHECK_THAT(line_with(vm.messages(), "  vCPU 0: in "), Matches("  vCPU 0: in machine_halt[+]0x.*reboot.*"));
}

TEST_CASE("aarch64: a guest that lives is looked into, and dumped by verb and key", "[boot][blackbox]") {
  const TempDirectory folder;
  TestVm vm(debian_kernel() + Words{"--cpus", "2", "--ctl", folder("s"), "--vmcore", folder("by-key")},
            {.terminal = true});
  vm.wait_for("tiny: ready");
  vm.wait_for("# ");
  const std::string why = pause_at(folder("s"), " < do_idle < ");
  CHECK_THAT(why, Contains("-cloud-arm64, KASLR offset ") && Contains("vCPU 0: in "));
  say({"dump", folder("s"), folder("core.zst")});
  CHECK(say({"why", folder("core.zst")}) == why);
  const std::string log = say({"dmesg", folder("s")});
  CHECK_THAT(log, Contains("Booting Linux on physical CPU") && Contains("Run /init as init process"));
  CHECK(say({"dmesg", folder("core.zst")}) == log);
  CHECK(say({"resume", folder("s")}).empty());
  CHECK(vm.run("echo on") == "on");
  vm.send(std::string("\x01") + "d");
  vm.wait_for_message("vmcore: " + folder("by-key"));
  CHECK_THAT(say({"why", folder("by-key")}), Contains("-cloud-arm64, KASLR offset "));
  CHECK(vm.run("echo still") == "still");
  CHECK(say({"kill", folder("s")}).empty());
  CHECK(vm.wait_exit() == 130);
}

TEST_CASE("aarch64: what is not there for it is refused", "[boot]") {
  TestVm traced({"--kernel", image("DEBIAN_KERNEL", "vmlinuz"), "--trace", "trace"});
  CHECK(traced.wait_exit() == 125);
  CHECK_THAT(traced.messages(), Contains("--trace: KVM does not tell where aarch64 guests are at an exit"));
  TestVm ports({"--kernel", image("DEBIAN_KERNEL", "vmlinuz"), "--trace", "mmio,pio"});
  CHECK(ports.wait_exit() == 125);
  CHECK_THAT(ports.messages(), Contains("aarch64 guests have no ports"));
}
