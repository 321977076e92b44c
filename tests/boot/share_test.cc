// Shared directories with real kernels: mounted, as the root, and as the host's own root.
#include <sys/utsname.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/support/guests.h"
#include "tests/support/network_ends.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

// A command in the tiny guest's root disk, with a directory mounted at /mnt.
Words with_share(const std::string& directory, const std::string& script) {
  return small_kernel() + Words{"--disk",  tiny_disk() + ",ephemeral",
                                "--share", directory,
                                "--",      "sh",
                                "-c",      "mkdir -p /mnt && mount -t virtiofs share /mnt && cd /mnt && " + script};
}

std::string content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("share: the guest reads, writes, lists and renames in it", "[boot][share]") {
  const TempDirectory place;
  std::ofstream(place("from-host")) << "hello\n";
  TestVm vm(with_share(place.path(),
                       "cat from-host && echo world >from-guest && mkdir -p a/b && mv from-guest a/b/moved && "
                       "ln -s a/b/moved soft && cat soft && ls && rm from-host && stat -c %u a"));
  CHECK(vm.wait_exit() == 0);
  CHECK(vm.output() == "hello\nworld\na\nfrom-host\nsoft\n0\n");
  CHECK(content(place("a/b/moved")) == "world\n");
  CHECK_FALSE(fs::exists(place("from-host")));
}

TEST_CASE("share: ten megabytes arrive unchanged, both ways", "[boot][share]") {
  const TempDirectory place;
  REQUIRE(std::system(("head -c 10000000 /dev/urandom >" + place("data")).c_str()) == 0);
  TestVm vm(with_share(place.path(),
                       "cp data copy && sync && echo 3 >/proc/sys/vm/drop_caches && cmp data copy && "
                       "dd if=data bs=1M skip=3 count=2 2>/dev/null | wc -c"));
  CHECK(vm.wait_exit() == 0);
  CHECK(vm.output() == "2097152\n");
  CHECK(content(place("copy")) == content(place("data")));
}

TEST_CASE("share: a read-only one cannot be written, nor left", "[boot][share]") {
  const TempDirectory place;
  fs::create_directory(place("shared"));
  std::ofstream(place("secret")) << "secret\n";
  std::ofstream(place("shared/file")) << "x\n";
  fs::create_symlink("../secret", place("shared/out"));
  TestVm vm(with_share(place("shared") + ",ro",
                       "{ echo y >file || echo refused; cat out || echo not found; cat ../secret || echo outside; }"));
  CHECK(vm.wait_exit() == 0);
  CHECK(vm.output() == "refused\nnot found\noutside\n");
  CHECK(content(place("shared/file")) == "x\n");
}

TEST_CASE("share: a command without a disk runs in the host's root", "[boot][share]") {
  TestVm vm(small_kernel() + Words{"--", "uname", "-n"});
  CHECK(vm.wait_exit() == 0);
  CHECK(vm.output() == "vmm\n");
  TestVm writer(small_kernel() +
                Words{"--", "sh", "-c", "echo x >/etc/new || echo x >/tmp/new && cat /tmp/new; ls /proc/1/exe"});
  CHECK(writer.wait_exit() == 0);
  CHECK(writer.output() == "x\n/proc/1/exe\n");
  CHECK_THAT(writer.messages(), Contains("Read-only file system"));
}

TEST_CASE("share: a command that starts below /tmp is at home there, and what it writes is thrown away",
          "[boot][share]") {
  const TempDirectory place;
  std::ofstream(place("script")) << "#!/bin/sh\necho $1 >new && mkdir folder && cat new && rm old && ls\n";
  std::ofstream(place("old")) << "kept\n";
  fs::permissions(place("script"), fs::perms::owner_all);
  const fs::path before = fs::current_path();
  fs::current_path(place.path());
  TestVm vm({"--kernel", image("DEBIAN_KERNEL", "vmlinuz"), "--modules", image("DEBIAN_KERNEL", ""), "--", "./script",
             "written"});
  fs::current_path(before);
  CHECK(vm.wait_exit() == 0);
  CHECK(vm.output() == "written\nfolder\nnew\nscript\n");
  CHECK(vm.messages().empty());
  CHECK(content(place("old")) == "kept\n");
  CHECK_FALSE(fs::exists(place("new")));
}

TEST_CASE("share: where a kernel without overlays starts below /tmp it only reads, and is told so", "[boot][share]") {
  const TempDirectory place;
  std::ofstream(place("script")) << "echo read; echo x >new || echo refused\n";
  const Words without_overlays = small_kernel() + Words{"--append", "initcall_blacklist=ovl_init"};
  TestVm vm(without_overlays + Words{"--cwd", place.path(), "--", "sh", "./script"});
  CHECK(vm.wait_exit() == 0);
  CHECK(vm.output() == "read\nrefused\n");
  CHECK_THAT(vm.messages(),
             Contains("vmm: " + place.path() + " cannot be written in the guest") && Contains("  fix: "));
  TestVm host_root(small_kernel() + Words{"--rootfs", "/", "--cwd", place.path(), "--", "sh", "./script"});
  CHECK(host_root.wait_exit() == 0);
  CHECK(host_root.output() == "read\n");
  CHECK(content(place("new")) == "x\n");
}

TEST_CASE("share: a directory is the root, and keeps what was written", "[boot][share]") {
  const TempDirectory place;
  const std::string unpack =
      "cd " + place.path() + " && zcat " + image("TINY", "initramfs.cpio.gz") + " | cpio -idm --quiet";
  REQUIRE(std::system(unpack.c_str()) == 0);
  TestVm command(small_kernel() + Words{"--rootfs", place.path(), "--", "sh", "-c", "echo kept >/root/kept"});
  CHECK(command.wait_exit() == 0);
  CHECK(content(place("root/kept")) == "kept\n");
  // The second time it is an ordinary user's, who may not look where root's files are.
  const TempDirectory his;
  fs::copy(image("KERNEL", "bzImage"), his("kernel"));
  host("chown -R 1000:1000 " + place.path() + " " + his.path());
  TestVm vm(
      {"--kernel", his("kernel"), "--rootfs", place.path(), "--append", "quiet init=/init", "--ctl", his("control")},
      {.user = 1000});
  vm.wait_for("tiny: ready");
  CHECK(vm.run("cat /root/kept; echo new >/root/new; stat -c '%u %g' /root/new /bin/busybox") == "kept\n0 0\n0 0");
  vm.send("poweroff -f\n");
  CHECK(vm.wait_exit() == 0);
  CHECK(host("stat -c '%u %g' " + place("root/new")) == "1000 1000\n");
}

TEST_CASE("share: an ordinary user shares what is his, and has a network", "[boot][share][net]") {
  const TempDirectory place;
  fs::copy(image("KERNEL", "bzImage"), place("kernel"));
  fs::copy(image("TINY", "initramfs.cpio.gz"), place("initrd"));
  host("cd " + place.path() + " && mkdir shared && echo mine >shared/mine && chown -R 1000:1000 . && cd shared && " +
       "echo secret >secret && chmod 600 secret && echo fixed >fixed && chmod 644 fixed");
  TestVm vm({"--kernel", place("kernel"), "--initrd", place("initrd"), "--append", "quiet", "--share", place("shared"),
             "--net", "user,fwd=2224:22", "--ctl", place("control")},
            {.user = 1000});
  vm.wait_for("tiny: ready");
  vm.run("mkdir /s && mount -t virtiofs share /s && cd /s");
  CHECK(vm.run("cat mine; stat -c '%u %g' mine") == "mine\n0 0");
  CHECK(vm.run("echo new >new && mkdir -p d/e && echo more >>mine && stat -c '%u %g' new") == "0 0");
  CHECK(vm.run("cat secret 2>/dev/null || echo refused") == "refused");
  CHECK(vm.run("{ echo x >>fixed; } 2>/dev/null || echo refused; cat fixed") == "refused\nfixed");
  CHECK(vm.run("chown 5 new 2>/dev/null || echo refused; chmod 600 fixed 2>/dev/null || echo refused") ==
        "refused\nrefused");
  CHECK(host("cd " + place("shared") + " && stat -c '%n %u %g' new d d/e") ==
        "new 1000 1000\nd 1000 1000\nd/e 1000 1000\n");
  CHECK(content(place("shared/mine")) == "mine\nmore\n");

  vm.run("ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2");
  vm.start_server(22, "(echo hello; sleep 1) | nc -l -p 22 >/tmp/in");
  CHECK(talk("127.0.0.1", 2224, "to the guest") == "hello\n");
  CHECK(vm.run("wait; cat /tmp/in") == "to the guest");
  vm.send("exit\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("share: Debian's stock kernel mounts one with its own modules", "[boot][share]") {
  TestVm vm(
      {"--kernel", image("DEBIAN_KERNEL", "vmlinuz"), "--modules", image("DEBIAN_KERNEL", ""), "--", "uname", "-r"});
  CHECK(vm.wait_exit() == 0);
  CHECK_THAT(vm.output(), Contains("cloud-amd64"));
}
