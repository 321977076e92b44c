// The ways in: kernels of each kind, with each kind of root, up to a user's shell and down again.
#include <catch2/catch.hpp>

#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;
using std::chrono::seconds;

TEST_CASE("boot: a small kernel boots from a disk without an initrd, and everything it sees is in order", "[boot]") {
  const TempFile disk(tiny_disk());
  TestVm vm(small_kernel() + Words{"--disk", disk.path() + ",serial=ROOT-7", "--name", "web-1", "--cpus", "2"});
  vm.wait_for_message("/dev/vda");
  vm.wait_for("tiny: ready");
  CHECK(vm.run("nproc") == "2");
  CHECK(vm.run("dmesg | grep -E 'ACPI Error|ACPI BIOS|ACPI Warning|Firmware Bug|BIOS bug'") == "");
  CHECK_THAT(vm.run("cat /proc/interrupts"),
             Contains("PCI-MSI") && Contains("virtio0-req.0") && Contains("virtio0-req.1"));
  CHECK(vm.run("cat /sys/class/misc/hw_random/rng_current") == "virtio_rng.0");
  CHECK(vm.run("head -c 100000 /dev/hwrng | wc -c") == "100000");
  CHECK(vm.run("cat /sys/block/vda/serial") == "ROOT-7");
  CHECK(vm.run("cat /sys/class/dmi/id/product_serial") == "web-1");
  CHECK(vm.run("cat /sys/class/dmi/id/sys_vendor") == "vmm");
  CHECK(vm.run("ls /sys/bus/acpi/drivers/vmgenid | grep -c VMMV0001") == "1");
  // The hardware clock is the host's, give or take what an emulated machine takes to ask.
  CHECK(std::abs(std::stol(vm.run("cat /sys/class/rtc/rtc0/since_epoch")) - std::time(nullptr)) < 30);
  CHECK(vm.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource") == "kvm-clock");

  CHECK(vm.run("cat /sys/block/vda/queue/write_cache") == "write back");
  const std::string cache_type = "/sys/bus/virtio/drivers/virtio_blk/virtio0/block/vda/cache_type";
  CHECK(vm.run("echo 'write through' >" + cache_type + "; cat /sys/block/vda/queue/write_cache") == "write through");
  CHECK(vm.run("dd if=/dev/zero of=/root/x bs=4k count=16 conv=fsync 2>&1 | head -1") == "16+0 records in");
  CHECK(vm.run("echo 'write back' >" + cache_type + "; cat /sys/block/vda/queue/write_cache") == "write back");
  vm.send("poweroff\n");
  CHECK(vm.wait_exit() == 0);
  CHECK_THAT(vm.messages(), Contains("vmm: guest powered off"));
}

TEST_CASE("boot: a vmlinux enters by PVH, with four CPUs and memory beyond the hole", "[boot]") {
  TestVm vm(Words{"--kernel", image("KERNEL", "vmlinux"), "--cpus", "4", "--mem", "5G"} +
            tiny_initramfs("nproc; grep MemTotal /proc/meminfo; dmesg | grep -c PVH"));
  vm.wait_for("tiny: ready");
  vm.wait_for("4\r\nMemTotal:");
  CHECK(std::stol(vm.wait_for("kB\r\n")) > 4'800'000);
  CHECK(vm.wait_exit() == 0);
  CHECK_THAT(vm.output(), Contains("tiny: exit 0"));
}

TEST_CASE("boot: Debian's kernel boots with its initrd", "[boot]") {
  // As a kernel that knows nothing of KVM, which tries the wires of its timers.
  TestVm vm(debian_kernel() + Words{"--append", "nopv tiny.run=\"dmesg | grep -c MP-BIO[S]; uname -r\""});
  vm.wait_for("tiny: ready");
  vm.wait_for("0\r\n");
  vm.wait_for("cloud-amd64\r\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("boot: a whole Debian comes up from its disk, works, and powers off", "[boot][debian]") {
  const TempFile data(256 << 20);
  TestVm vm(debian_kernel() + Words{"--disk", image("DEBIAN", "rootfs.img") + ",ephemeral", "--disk",
                                    data.path() + ",queues=2", "--cpus", "2"});
  vm.wait_for("login: ", seconds(300));
  vm.send("root\n");
  vm.wait_for("# ");
  CHECK(vm.run("systemctl --failed --no-legend | wc -l", seconds(300)) == "0");
  CHECK(vm.run("findmnt -no SOURCE,FSTYPE /") == "/dev/vda ext4");
  CHECK(vm.run("cat /sys/block/vdb/mq/*/cpu_list | wc -l") == "2");

  const auto fio = [&](const std::string& engine) {
    return vm.run(
        "fio --name=verify --filename=/dev/vdb --rw=randwrite --bs=4k --size=8M --iodepth=16 --direct=1 "
        "--verify=crc32c --ioengine=" +
            engine + " >/tmp/fio 2>&1; echo $?; grep -c 'err= 0' /tmp/fio",
        seconds(200));
  };
  CHECK(fio("libaio") == "0\n1");
  CHECK(vm.run("tr '\\0' '\\377' </dev/zero | head -c 4M >/dev/vdb; blkdiscard -z -l 4M /dev/vdb; "
               "head -c 4M /dev/vdb | tr -d '\\0' | wc -c") == "0");
  vm.send("poweroff\n");
  CHECK(vm.wait_exit(seconds(200)) == 0);
  CHECK_THAT(vm.messages(), Contains("vmm: guest powered off"));
}

TEST_CASE("boot: 254 CPUs are configured, 255 are refused", "[boot]") {
  TestVm most(small_kernel() + Words{"--cpus", "254", "--dry-run"});
  CHECK(most.wait_exit() == 0);
  CHECK_THAT(most.output(), Contains("254"));
  TestVm more(small_kernel() + Words{"--cpus", "255"});
  CHECK(more.wait_exit() == 125);
}
