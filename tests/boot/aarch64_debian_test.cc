// A whole Debian on the ARM machine, with each of its stock kernels: its devices at work, and its ways down.
#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <fstream>
#include <random>
#include <string>

#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
using std::chrono::seconds;

namespace {

constexpr seconds kPatience{300};

Words debian_disk() { return {"--disk", image("DEBIAN", "rootfs.img") + ",ephemeral"}; }

void log_in(TestVm& vm) {
  vm.wait_for("login: ", kPatience);
  vm.send("root\n");
  vm.wait_for("# ", kPatience);
}

std::string random_bytes(size_t size) {
  std::string bytes(size, '\0');
  std::ranges::generate(bytes, [engine = std::minstd_rand()]() mutable { return static_cast<char>(engine() >> 8); });
  return bytes;
}

}  // namespace

TEST_CASE("aarch64: Debian works on two CPUs, with its disks and a network, and powers off", "[boot][debian]") {
  constexpr size_t kHalf = 4 << 20;
  const std::string bytes = random_bytes(kHalf);
  const TempFile data(2 * kHalf);
  std::ofstream(data.path(), std::ios::in | std::ios::binary) << bytes;
  const TempDirectory files;
  const Words net{"--net", "socket=" + files("net")};
  TestVm peer(debian_kernel() + net);
  TestVm vm(debian_kernel() + debian_disk() + Words{"--disk", data.path() + ",queues=2", "--cpus", "2"} + net);
  log_in(vm);
  CHECK(vm.run("systemctl is-system-running --wait; systemctl --failed --no-legend | cat", kPatience) == "running");
  CHECK(vm.run("nproc") == "2");
  CHECK_THAT(vm.run("uname -r"), EndsWith("-cloud-arm64"));
  CHECK(vm.run("findmnt -no SOURCE,FSTYPE /") == "/dev/vda ext4");
  CHECK(vm.run("cat /sys/class/misc/hw_random/rng_current") == "virtio_rng.0");
  CHECK(vm.run("head -c 100000 /dev/hwrng | wc -c") == "100000");

  CHECK_THAT(vm.run("dd if=/dev/vdb of=/dev/vdb bs=64k count=64 seek=64 iflag=direct oflag=direct conv=fsync 2>&1"),
             Contains("64+0 records out"));

  peer.run("ip link set eth0 up; ip addr add 10.1.1.1/24 dev eth0");
  peer.start_server(6000, "nc -l -p 6000 >/tmp/in");
  vm.run("ip addr add 10.1.1.2/24 dev $(ls -d /sys/class/net/e* | xargs basename)");
  CHECK_THAT(vm.run("ping -c 2 -W 20 10.1.1.1"), Contains(" 0% packet loss"));
  const std::string sum =
      vm.run("head -c 1M /dev/urandom >/tmp/out; cat /tmp/out >/dev/tcp/10.1.1.1/6000; md5sum </tmp/out");
  CHECK(peer.run("wait; md5sum </tmp/in") == sum);
  peer.start_server(6001, "nc -l -p 6001 </tmp/in");
  CHECK(vm.run("md5sum </dev/tcp/10.1.1.1/6001") == sum);

  vm.send("poweroff\n");
  CHECK(vm.wait_exit(kPatience) == 0);
  CHECK_THAT(vm.messages(), Contains("vmm: guest powered off"));
  CHECK(data.content() == bytes + bytes);
}

TEST_CASE("aarch64: Debian's full kernel gets its drivers in an initrd of ours, and reboots", "[boot][debian]") {
  const TempDirectory files;
  TestVm vm(Words{"--kernel", image("DEBIAN_FULL_KERNEL", "vmlinuz"), "--append", "quiet", "--initrd", "auto",
                  "--modules", image("DEBIAN_FULL_KERNEL", ""), "--cpus", "2", "--net", "socket=" + files("net"),
                  "--console", "file=" + files("hvc0")} +
            debian_disk());
  log_in(vm);
  CHECK(vm.run("systemctl is-system-running --wait; systemctl --failed --no-legend | cat", kPatience) == "running");
  CHECK(vm.run("nproc") == "2");
  CHECK_THAT(vm.run("uname -r"), EndsWith("-arm64") && !Contains("cloud"));
  CHECK(vm.run("cat /sys/class/misc/hw_random/rng_current") == "virtio_rng.0");
  CHECK(vm.run("basename $(readlink /sys/class/net/e*/device/driver)") == "virtio_net");
  CHECK(vm.run("echo one two >/dev/hvc0; echo $?") == "0");
  vm.send("reboot\n");
  CHECK(vm.wait_exit(kPatience) == 104);
  CHECK_THAT(vm.messages(), Contains("guest asked for a reset (PSCI)"));
  std::string hvc0;
  std::getline(std::ifstream(files("hvc0")), hvc0, '\0');
  CHECK_THAT(hvc0, Contains("debian login: ") && Contains("one two"));
}

TEST_CASE("aarch64: a disk of four queues interrupts each of four CPUs", "[boot][gic]") {
  TestVm vm(debian_kernel() + Words{"--disk", tiny_disk() + ",ephemeral,queues=4", "--cpus", "4"});
  vm.wait_for("tiny: ready");
  CHECK(vm.run("nproc") == "4");
  CHECK(
      vm.run("for cpu in 0 1 2 3; do taskset -c $cpu dd if=/dev/vda of=/dev/null bs=64k count=1 skip=$cpu iflag=direct "
             "2>/dev/null || echo $cpu; done") == "");
  // Each of the four has come to its own CPU.
  CHECK(vm.run("awk '/virtio.*req/ { n = substr($NF, length($NF)); if ($(2 + n) > 0) print n }' /proc/interrupts") ==
        "0\n1\n2\n3");
  vm.send("poweroff\n");
  CHECK(vm.wait_exit() == 0);
}
