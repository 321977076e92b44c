// `vmm ... -- CMD` with real kernels: streams, statuses, and ends that are no verdict.
#include <catch2/catch.hpp>
#include <cstdlib>

#include "tests/support/guests.h"
#include "tests/support/network_ends.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

// A command in the tiny guest's root disk.
Words tiny_command(const Words& command) {
  return small_kernel() + Words{"--disk", tiny_disk() + ",ephemeral"} + Words{"--"} + command;
}
Words in_shell(const std::string& script) { return tiny_command({"sh", "-c", script}); }

// What vmm says of a guest that ends with 96.
std::string panic_of(const Words& flags) {
  TestVm vm(flags);
  CHECK(vm.wait_exit() == 96);
  return vm.messages();
}

}  // namespace

TEST_CASE("command: output, errors, input, variables and status are its own", "[boot][command]") {
  TestVm vm(small_kernel() + Words{"--disk", tiny_disk() + ",ephemeral", "--env", "COLOUR=blue and green", "--cwd",
                                   "/root", "--", "sh", "-c", "cat; echo $COLOUR; pwd; echo oops >&2; exit 7"});
  vm.send("typed\n");
  vm.close_input();
  CHECK(vm.wait_exit() == 7);
  CHECK(vm.output() == "typed\nblue and green\n/root\n");
  CHECK(vm.messages() == "oops\n");
}

TEST_CASE("command: a megabyte through the guest comes back unchanged, whoever is slow", "[boot][command]") {
  TestVm vm(in_shell("head -c 1000000 /dev/zero | tr '\\0' x"));
  CHECK(vm.wait_exit() == 0);
  CHECK(vm.output() == std::string(1'000'000, 'x'));
}

TEST_CASE("command: a success whose output nobody reads is a timeout", "[boot][command]") {
  // More than a pipe holds, less than vmm holds besides: the command itself ends.
  TestVm vm(Words{"--timeout", "60"} + in_shell("head -c 100000 /dev/zero"));
  CHECK(vm.wait_exit_unread() == 124);
  CHECK_THAT(vm.messages(), Contains("vmm: timed out after ") && Contains("not all of the command's output was read"));
}

TEST_CASE("command: it hears that its reader went away, and ends by that", "[boot][command]") {
  TestVm vm(in_shell("yes; echo status $? >&2; exit 7"));
  vm.wait_for("y\n");
  vm.close_output();
  CHECK(vm.wait_exit() == 7);
  CHECK_THAT(vm.messages(), Contains("status 141"));
}

TEST_CASE("command: a success whose output could not be written is none", "[boot][command]") {
  TestVm vm(in_shell("echo out"), {.full_output = true});
  CHECK(vm.wait_exit() == 125);
  CHECK_THAT(vm.messages(),
             Contains("vmm: cannot write the command's output: No space left on device") && Contains("  fix: "));
}

TEST_CASE("command: the boot timeout ends a guest that does not get to it, and no command", "[boot][command]") {
  TestVm late(Words{"--boot-timeout", "0.01"} + in_shell("true"));
  CHECK(late.wait_exit() == 124);
  CHECK_THAT(late.messages(), Contains("vmm: the command was not started: timed out after "));
  TestVm in_time(Words{"--boot-timeout", "60", "--idle-timeout", "60"} + in_shell("sleep 1; exit 3"));
  CHECK(in_time.wait_exit() == 3);
}

TEST_CASE("command: what cannot be run has the status of a shell, and is named", "[boot][command]") {
  TestVm missing(tiny_command({"no-such-command"}));
  CHECK(missing.wait_exit() == 127);
  CHECK_THAT(missing.messages(),
             Contains("vmm: cannot run 'no-such-command' in the guest: No such file or directory\n"));
  TestVm unfit(tiny_command({"/etc/passwd"}));
  CHECK(unfit.wait_exit() == 126);
  CHECK_THAT(unfit.messages(), Contains("vmm: cannot run '/etc/passwd' in the guest: Permission denied\n"));
}

TEST_CASE("command: a status that is one of vmm's own is reported as 95", "[boot][command]") {
  TestVm vm(in_shell("exit 100"));
  CHECK(vm.wait_exit() == 95);
  CHECK_THAT(vm.messages(), Contains("status 100"));
  TestVm killed(in_shell("kill -SEGV $$"));
  CHECK(killed.wait_exit() == 95);
  CHECK_THAT(killed.messages(), Contains("SIGSEGV"));
}

TEST_CASE("command: a guest that ends before its command is never a pass", "[boot][command]") {
  TestVm off(in_shell("echo out; poweroff -f"));
  CHECK(off.wait_exit() == 103);
  CHECK_THAT(off.messages(), Contains("without a verdict"));
  TestVm panicked(in_shell("echo c >/proc/sysrq-trigger"));
  CHECK(panicked.wait_exit() == 96);
  CHECK_THAT(panicked.messages(), Contains("  | ") && Contains("sysrq triggered crash"));
  TestVm forged(in_shell("echo 'vmm: guest powered off' >/dev/ttyS0; echo X >/dev/hvc0; reboot -f"));
  CHECK(forged.wait_exit() == 104);
}

TEST_CASE("command: on a terminal it has one, of the same size", "[boot][command]") {
  TestVm vm(in_shell("test -t 0 && test -t 1 && stty size; read line; echo got $line; exit 3"), {.terminal = true});
  vm.wait_for("24 80\r\n");
  vm.send("word\n");
  vm.wait_for("got word\r\n");
  CHECK(vm.wait_exit() == 3);
}

TEST_CASE("command: with a terminal, errors that are sent elsewhere arrive there alone", "[boot][command]") {
  TestVm vm(in_shell("test -t 1 && ! test -t 2 && echo to the terminal; echo to the file >&2"), {.terminal = true});
  vm.wait_for("to the terminal\r\n");
  CHECK(vm.wait_exit() == 0);
  CHECK_THAT(vm.output(), !Contains("to the file"));
  CHECK_THAT(vm.messages(), Contains("to the file\n") && !Contains("to the terminal"));
}

TEST_CASE("command: what it wrote is on the disk when it is over", "[boot][command]") {
  const TempFile disk(tiny_disk());
  TestVm writer(small_kernel() + Words{"--disk", disk.path(), "--", "sh", "-c", "echo kept >/root/kept"});
  CHECK(writer.wait_exit() == 0);
  TestVm reader(small_kernel() + Words{"--disk", disk.path() + ",ro", "--", "cat", "/root/kept"});
  CHECK(reader.wait_exit() == 0);
  CHECK(reader.output() == "kept\n");
}

TEST_CASE("command: Debian's stock kernel runs it with its own modules", "[boot][command]") {
  TestVm vm({"--kernel", image("DEBIAN_KERNEL", "vmlinuz"), "--modules", image("DEBIAN_KERNEL", ""), "--disk",
             tiny_disk() + ",ephemeral", "--", "uname", "-r"});
  CHECK(vm.wait_exit() == 0);
  CHECK_THAT(vm.output(), Contains("cloud-amd64"));
}

TEST_CASE("initrd auto: Debian's stock kernel boots a disk that it has no driver for", "[boot][command]") {
  TestVm vm({"--kernel", image("DEBIAN_KERNEL", "vmlinuz"), "--modules", image("DEBIAN_KERNEL", ""), "--disk",
             tiny_disk() + ",ephemeral", "--append", "quiet"});
  vm.wait_for("tiny: ready");
  vm.send("poweroff\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("initrd auto: the root is what a label, an identifier, a number or a partition says", "[boot][command]") {
  constexpr const char* kUuid = "6f3c1c9e-2f0b-4a51-9d53-3a0f2d7c55aa";
  const TempDirectory place;
  const TempFile disk(tiny_disk());
  host("tune2fs -U " + std::string(kUuid) + " -L 'the-root' " + disk.path());
  // A disk of one partition, from 1 MiB on.
  host("cd " + place.path() + " && truncate -s 1M parts && cat " + disk.path() + " >>parts && " +
       "printf '\\170\\126\\064\\022' | dd of=parts bs=1 seek=440 conv=notrunc status=none && " +
       "printf '\\203\\0\\0\\0\\0\\010\\0\\0\\0\\0\\002\\0' | dd of=parts bs=1 seek=450 conv=notrunc status=none && " +
       "printf '\\125\\252' | dd of=parts bs=1 seek=510 conv=notrunc status=none");
  const auto root_is = [&](const std::string& file, const std::string& root) {
    TestVm vm({"--kernel", image("DEBIAN_KERNEL", "vmlinuz"), "--modules", image("DEBIAN_KERNEL", ""), "--disk",
               file + ",ephemeral", "--append", "root=" + root, "--", "sh", "-c", "stat -c %d /"});
    CHECK(vm.wait_exit() == 0);
    return vm.output();
  };
  CHECK(root_is(disk.path(), std::string("UUID=") + kUuid) == "65024\n");
  CHECK(root_is(disk.path(), "LABEL=the-root") == "65024\n");
  CHECK(root_is(disk.path(), "254:0") == "65024\n");
  CHECK(root_is(place("parts"), "PARTUUID=12345678-01") == "65025\n");
  CHECK(root_is(place("parts"), "/dev/vda1") == "65025\n");
}

TEST_CASE("initrd auto: a root that no disk has ends with 100, before a usual --timeout", "[boot][command]") {
  TestVm vm({"--kernel", image("DEBIAN_KERNEL", "vmlinuz"), "--modules", image("DEBIAN_KERNEL", ""), "--disk",
             tiny_disk() + ",ephemeral", "--append", "root=UUID=00000000-0000-4000-8000-000000000000", "--timeout",
             "90"});
  CHECK(vm.wait_exit() == 100);
  CHECK_THAT(vm.messages(), Contains("there is no such device"));
}

TEST_CASE("initrd auto: each device that is asked for has its driver", "[boot][command]") {
  const TempDirectory place;
  TestVm vm({"--kernel", image("DEBIAN_KERNEL", "vmlinuz"), "--modules", image("DEBIAN_KERNEL", ""), "--disk",
             tiny_disk() + ",ephemeral", "--vsock", place("vsock"), "--balloon", "0", "--net", "socket=" + place("net"),
             "--", "sh", "-c",
             "cd /sys/bus/virtio/devices && for d in *; do test -e $d/driver || cat $d/device; done"});
  CHECK(vm.wait_exit() == 0);
  CHECK(vm.output().empty());
}

TEST_CASE("initrd auto: modules of a package that was only unpacked do", "[boot][command]") {
  const TempDirectory place;
  host("cp -r " + image("DEBIAN_KERNEL", "lib") + " " + place.path() + " && rm -f " + place.path() +
       "/lib/modules/*/modules.dep* " + place.path() + "/lib/modules/*/modules.*dep " + place.path() +
       "/lib/modules/*/modules.alias*");
  TestVm vm({"--kernel", image("DEBIAN_KERNEL", "vmlinuz"), "--modules", place.path(), "--disk",
             tiny_disk() + ",ephemeral", "--", "uname", "-s"});
  CHECK(vm.wait_exit() == 0);
  CHECK(vm.output() == "Linux\n");
}

TEST_CASE("initrd auto: a disk without a file system ends with 100 and says so", "[boot][command]") {
  const TempFile disk(1 << 20);
  TestVm vm(small_kernel() + Words{"--disk", disk.path(), "--initrd", "auto"});
  CHECK(vm.wait_exit() == 100);
  CHECK_THAT(vm.messages(), Contains("Unable to mount root fs"));
}

TEST_CASE("initrd auto: a root without an init ends as it does without an initrd", "[boot][command]") {
  const TempFile empty(16 << 20);
  REQUIRE(std::system(("/sbin/mke2fs -q -F -t ext4 " + empty.path()).c_str()) == 0);
  const Words disk = {"--disk", empty.path()};
  CHECK_THAT(panic_of(small_kernel() + disk), Contains("No working init found"));
  CHECK_THAT(panic_of(small_kernel() + disk + Words{"--initrd", "auto"}), Contains("No working init found"));
}

TEST_CASE("initrd auto: an init that is not there ends as it does without an initrd", "[boot][command]") {
  const Words flags = small_kernel() + Words{"--disk", tiny_disk() + ",ephemeral", "--append", "init=/nonexistent"};
  CHECK_THAT(panic_of(flags), Contains("Requested init /nonexistent failed (error -2)."));
  CHECK_THAT(panic_of(flags + Words{"--initrd", "auto"}), Contains("Requested init /nonexistent failed (error -2)."));
}

TEST_CASE("initrd auto: a root that cannot be entered is a panic, and the log says why", "[boot][command]") {
  const TempDirectory root;
  const std::string file = root.file("dev", "no directory");
  TestVm vm(small_kernel() +
            Words{"--rootfs", file.substr(0, file.rfind('/')), "--initrd", "auto", "--serial", "null"});
  CHECK(vm.wait_exit() == 101);
  CHECK_THAT(vm.messages(), Contains("init: /dev: ") && Contains("Attempted to kill init"));
}
