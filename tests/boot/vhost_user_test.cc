// Disks and directories that other people's daemons serve: Debian's qemu-storage-daemon and virtiofsd, which are killed
// and started anew under a running guest.
// clang-format off: what has a CHECK of its own stands before Catch
#include "tests/support/vhost_user_peer.h"
// clang-format on

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

// A daemon that makes a socket, and dies when told to.
class Daemon {
 public:
  Daemon(const Words& words, const std::string& socket) {
    std::filesystem::remove(socket);
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    REQUIRE(::posix_spawnp(&pid_, arguments[0], nullptr, nullptr, arguments.data(), environ) == 0);
    const auto deadline = std::chrono::steady_clock::now() + TestVm::kPatience;
    while (!std::filesystem::exists(socket)) {
      REQUIRE(std::chrono::steady_clock::now() < deadline);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  ~Daemon() { die(); }
  void die() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
};

bool missing(const std::string& program) {
  if (std::system(("command -v " + program + " >/dev/null").c_str()) == 0) return false;
  WARN("skipped: there is no " + program + " (Debian: qemu-system-common)");
  return true;
}

const std::string kStorageDaemon = "qemu-storage-daemon";
const std::string kVirtiofsd = "/usr/lib/qemu/virtiofsd";

Words storage_daemon(const std::string& file, const std::string& socket) {
  return {kStorageDaemon, "--blockdev", "file,node-name=disk,filename=" + file, "--export",
          "vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix,addr.path=" + socket};
}

Words virtiofsd(const std::string& directory, const std::string& socket) {
  return {kVirtiofsd, "--socket-path=" + socket, "-o", "source=" + directory, "-o", "log_level=err"};
}

}  // namespace

TEST_CASE("vhost-user: a disk of qemu-storage-daemon outlives its back-end's death, with all that is under way",
          "[boot][vhost-user]") {
  if (missing(kStorageDaemon)) return;
  const TempDirectory place;
  const TempFile disk(64 << 20);
  const std::string socket = place("disk");
  std::optional<Daemon> daemon(std::in_place, storage_daemon(disk.path(), socket), socket);
  TestVm vm(small_kernel() + tiny_initramfs() + Words{"--disk", "vhost-user=" + socket});
  vm.wait_for("tiny: ready");
  CHECK(vm.run("cat /sys/block/vda/size") == "131072");
  // Four at a time write, and read what they wrote, each in a place of its own.
  vm.run("dd if=/dev/urandom of=/tmp/data bs=256k count=1");
  vm.run(
      "work() { while [ ! -e /tmp/stop ]; do dd if=/tmp/data of=/dev/vda bs=16k seek=$((16 * $1)) oflag=direct; "
      "dd if=/dev/vda bs=16k skip=$((16 * $1)) count=16 iflag=direct | cmp - /tmp/data || echo $1 >>/tmp/bad; "
      "echo $1 >>/tmp/rounds; done 2>/dev/null; }");
  for (const char* work : {"work 0", "work 1", "work 2", "work 3"}) vm.start(work);
  for (int i = 0; i < 2; ++i) {
    vm.run(">/tmp/rounds; until [ -s /tmp/rounds ]; do usleep 50000; done");
    daemon->die();
    vm.wait_for_message("the back-end is gone");
    daemon.emplace(storage_daemon(disk.path(), socket), socket);
    vm.wait_for_message("the back-end is back");
  }
  vm.run("touch /tmp/stop; wait");
  CHECK(vm.run("[ ! -e /tmp/bad ] && echo good") == "good");
  CHECK(vm.run("dmesg | grep -c -i -E 'i/o error|is not a head'") == "0");
  CHECK(vm.run("for i in 0 1 2 3; do dd if=/dev/vda bs=256k skip=$i count=1 2>/dev/null | cmp - /tmp/data || "
               "echo differs; done; echo compared") == "compared");
  vm.send("exit\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("vhost-user: a disk is the root, and a machine that starts again keeps it", "[boot][vhost-user]") {
  if (missing(kStorageDaemon)) return;
  const TempDirectory place;
  const TempFile disk(tiny_disk());
  const std::string socket = place("disk");
  const Daemon daemon(storage_daemon(disk.path(), socket), socket);
  TestVm vm(small_kernel() + Words{"--disk", "vhost-user=" + socket, "--on-reset", "reboot", "--cpus", "2"});
  vm.wait_for("tiny: ready");
  vm.run("echo kept >/root/kept; sync");
  vm.send("reboot -f\n");
  vm.wait_for("tiny: ready");
  CHECK(vm.run("cat /root/kept") == "kept");
  vm.send("exit\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("vhost-user: a directory of virtiofsd can be mounted again when it has died", "[boot][vhost-user]") {
  if (missing(kVirtiofsd)) return;
  const TempDirectory place;
  const TempDirectory shared;
  std::ofstream(shared("from-host")) << "hello\n";
  const std::string socket = place("fs");
  std::optional<Daemon> daemon(std::in_place, virtiofsd(shared.path(), socket), socket);
  TestVm vm(small_kernel() + tiny_initramfs() + Words{"--share", "vhost-user=" + socket + ":work"});
  vm.wait_for("tiny: ready");
  CHECK(vm.run("mkdir -p /mnt && mount -t virtiofs work /mnt && cat /mnt/from-host") == "hello");
  CHECK(vm.run("dd if=/dev/urandom of=/mnt/data bs=1M count=4 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches; "
               "md5sum </mnt/data | head -c 32; rm /mnt/data")
            .size() == 32);
  daemon->die();
  vm.wait_for_message("the back-end is gone");
  vm.start("cat /mnt/from-host >/tmp/out 2>&1");
  CHECK(vm.run("echo alive") == "alive");
  daemon.emplace(virtiofsd(shared.path(), socket), socket);
  vm.wait_for_message("the back-end is back");
  // It does not know what its predecessor had opened, and says so.
  vm.run("wait");
  CHECK(vm.run("umount -l /mnt; mount -t virtiofs work /mnt && cat /mnt/from-host") == "hello");
  vm.send("exit\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("vhost-user: a card's frames go to its back-end, and its link down and up with it", "[boot][vhost-user]") {
  const TempDirectory place;
  const std::string socket = place("net");
  std::vector<std::byte> nothing;
  VhostUserPeer::Behaviour network;
  network.features = vmm::feature(VIRTIO_F_VERSION_1) | vmm::feature(vmm::VHOST_USER_F_PROTOCOL_FEATURES);
  network.network = true;
  std::optional<VhostUserPeer> peer(std::in_place, socket, nothing, network);
  TestVm vm(small_kernel() + tiny_initramfs() + Words{"--net", "vhost-user=" + socket + ",mac=02:00:00:00:00:01"});
  vm.wait_for("tiny: ready");
  vm.run("ip link set eth0 up; ip addr add 10.7.0.1/24 dev eth0");
  CHECK(vm.run("cat /sys/class/net/eth0/address") == "02:00:00:00:00:01");
  CHECK_THAT(vm.run("ping -c 20 -A -q 10.7.0.2"), Contains("20 packets received"));
  peer.reset();
  vm.wait_for_message("the back-end is gone");
  const std::string until = "for i in $(seq 600); do [ $(cat /sys/class/net/eth0/carrier) = ";
  CHECK(vm.run(until + "0 ] && break; usleep 50000; done; cat /sys/class/net/eth0/carrier") == "0");
  peer.emplace(socket, nothing, network);
  vm.wait_for_message("the back-end is back");
  CHECK(vm.run(until + "1 ] && break; usleep 50000; done; cat /sys/class/net/eth0/carrier") == "1");
  CHECK_THAT(vm.run("ping -c 20 -A -q 10.7.0.2"), Contains("20 packets received"));
  vm.send("exit\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("vhost-user: where nobody listens, what to do is said", "[boot][vhost-user]") {
  TestVm vm(small_kernel() + Words{"--disk", "vhost-user=/nonexistent/socket"});
  CHECK(vm.wait_exit() == 125);
  CHECK_THAT(vm.messages(), Contains("cannot reach vhost-user-blk back-end '/nonexistent/socket': No such file") &&
                                Contains("fix: start it first"));
}
