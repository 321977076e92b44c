// Disks as a Linux guest sees and uses them, and what the host's files look like after it.
#include <catch2/catch.hpp>
#include <filesystem>
#include <memory>

#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {
constexpr uint64_t kMiB = 1 << 20;
}

TEST_CASE("disks: 24 disks are told apart, a read-only one refuses writes, an ephemeral one forgets them",
          "[boot][disks]") {
  std::vector<std::unique_ptr<TempFile>> files;
  Words disks;
  for (int i = 0; i < 24; ++i) {
    files.push_back(std::make_unique<TempFile>(kMiB));
    const std::string options = i == 1 ? ",ro" : i == 2 ? ",ephemeral" : "";
    disks = disks + Words{"--disk", files.back()->path() + ",serial=disk-" + std::to_string(i) + options};
  }
  TestVm vm(small_kernel() + tiny_initramfs() + disks);
  vm.wait_for("tiny: ready");
  CHECK(vm.run("ls /sys/block | grep -c vd") == "24");
  CHECK(vm.run("cat /sys/block/vda/serial /sys/block/vdx/serial") == "disk-0disk-23");
  CHECK(vm.run("cat /sys/block/vdb/ro; echo x 2>/dev/null >/dev/vdb || echo refused") == "1\nrefused");
  CHECK(vm.run("echo kept >/dev/vdx && echo gone >/dev/vdc && sync && head -c 4 /dev/vdc") == "gone");
  vm.send("exit\n");
  CHECK(vm.wait_exit() == 0);
  CHECK(files[23]->content().substr(0, 5) == "kept\n");
  CHECK(files[2]->content() == std::string(kMiB, '\0'));
}

TEST_CASE("disks: discard gives space back, growth is seen, and what was synced outlives a kill", "[boot][disks]") {
  const TempFile root(tiny_disk());
  const TempFile data(64 * kMiB);
  {
    TestVm vm(small_kernel() + Words{"--disk", root.path(), "--disk", data.path()});
    vm.wait_for("tiny: ready");
    vm.run("dd if=/dev/urandom of=/dev/vdb bs=1M count=32 conv=fsync");
    CHECK(data.allocated() >= 32 * kMiB);
    vm.run("blkdiscard /dev/vdb");
    CHECK(data.allocated() < kMiB);

    vm.run("mke2fs /dev/vdb; mount /dev/vdb /mnt; dd if=/dev/urandom of=/mnt/big bs=1M count=32 conv=fsync");
    CHECK(data.allocated() >= 32 * kMiB);
    vm.run("rm /mnt/big; sync; fstrim /mnt");
    CHECK(data.allocated() < 8 * kMiB);
    vm.run("umount /mnt");

    std::filesystem::resize_file(data.path(), 80 * kMiB);
    vm.signal(SIGUSR1);
    CHECK(vm.run("for i in $(seq 600); do [ $(cat /sys/block/vdb/size) = 163840 ] && break; usleep 50000; done; "
                 "cat /sys/block/vdb/size") == "163840");
    vm.run("echo end | dd of=/dev/vdb bs=1M seek=79 conv=fsync");
    vm.run("echo durable >/root/proof; sync");
    vm.signal(SIGKILL);
    vm.wait_exit();
  }
  CHECK(data.content().substr(79 * kMiB, 4) == "end\n");
  TestVm again(small_kernel() + Words{"--disk", root.path(), "--append", "tiny.run=\"cat /root/proof\""});
  again.wait_for("durable\r\n");
  CHECK(again.wait_exit() == 0);
}
