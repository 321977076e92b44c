// Kernels that start another one: a crash kernel, and kexec -e.
#include <catch2/catch.hpp>
#include <cstdlib>

#include "tests/support/descriptors.h"
#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

// A shell in the host's root, with Debian's stock kernel. What a test loads is where no directory of the guest hides
// it.
Words in_shell(const Words& flags, const std::string& script) {
  const std::string images = image("DEBIAN_KERNEL", ""), tool = KEXEC_GUEST;
  return Words{"--kernel",  images + "/vmlinuz",
               "--modules", images,
               "--rootfs",  "/,ro",
               "--mem",     "320M",
               "--share",   images + ":images,ro",
               "--share",   tool.substr(0, tool.rfind('/')) + ":tools,ro"} +
         flags +
         Words{
             "--", "sh", "-c",
             "for i in images tools; do mkdir /run/$i; mount -t virtiofs $i /run/$i; done; cd /run/images; " + script};
}

// The same kernel, as the tiny guest, which runs a command and powers off.
std::string load(const std::string& when, const std::string& command, const std::string& more = {}) {
  return "/run/tools/kexec-guest " + when + " vmlinuz initrd.img 'console=ttyS0 nr_cpus=1 reset_devices " + more +
         " tiny.run=\"" + command + "\"'";
}

}  // namespace

TEST_CASE("kexec: a crash kernel saves its vmcore and powers off, which is a panic all the same", "[boot][kexec]") {
  const TempFile disk(uint64_t{400} << 20);
  REQUIRE(std::system(("/sbin/mke2fs -q -F -t ext4 -O ^has_journal " + disk.path()).c_str()) == 0);
  const TempDirectory folder;
  TestVm vm(in_shell({"--append", "crashkernel=128M", "--disk", disk.path(), "--serial", "file=" + folder("console")},
                     load("crash", "mount /dev/vda /mnt && cp /proc/vmcore /mnt/vmcore; umount /mnt") +
                         " && echo c >/proc/sysrq-trigger"));
  CHECK(vm.wait_exit(3 * TestVm::kPatience) == 96);
  CHECK_THAT(vm.messages(), Contains("its crash kernel has taken over, and the run goes on to its end") &&
                                Contains("sysrq triggered crash\n  then its crash kernel: no-verdict"));
  const std::string core = folder("vmcore");
  REQUIRE(std::system(("/sbin/debugfs -R 'dump vmcore " + core + "' " + disk.path() + " 2>/dev/null").c_str()) == 0);
  CHECK_THAT(say({"dmesg", core}), Contains("Kernel panic - not syncing: sysrq triggered crash"));
}

TEST_CASE("kexec: a crash kernel that says little hides no panic", "[boot][kexec]") {
  TestVm vm(
      in_shell({"--append", "crashkernel=128M"}, load("crash", "true", "quiet") + " && echo c >/proc/sysrq-trigger"));
  CHECK(vm.wait_exit(2 * TestVm::kPatience) == 96);
  CHECK_THAT(vm.messages(), Contains("sysrq triggered crash\n  then its crash kernel: no-verdict"));
}

TEST_CASE("kexec: another kernel is no death, and has no verdict of the command before it", "[boot][kexec]") {
  const TempDirectory folder;
  TestVm vm(in_shell({"--cpus", "2", "--serial", "file=" + folder("console")}, load("now", "echo second kernel")));
  CHECK(vm.wait_exit(2 * TestVm::kPatience) == 103);
  CHECK_THAT(contents(folder("console")), Contains("second kernel"));
  CHECK_THAT(vm.messages(), !Contains("panic"));
}

TEST_CASE("kexec: the log of an old crash that a program prints is none", "[boot][kexec]") {
  TestVm vm(in_shell({"--append", "crashkernel=128M"},
                     "printf '[    2.0] Kernel panic - not syncing: old\\n[    0.0] Linux version 6\\n' >/dev/ttyS0"));
  CHECK(vm.wait_exit() == 0);
  CHECK_THAT(vm.messages(), Contains("there is a panic in what the guest printed, but it ended well"));
}
