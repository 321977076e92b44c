// Kernels newer than the host's own: what vmm reads out of them by the layouts that they announce.
#include <catch2/catch.hpp>

#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

Words trixie() {
  return {"--kernel", image("DEBIAN_TRIXIE_KERNEL", "vmlinuz"), "--modules", image("DEBIAN_TRIXIE_KERNEL", "")};
}

}  // namespace

TEST_CASE("kernels: Debian 13's runs a command with its own modules", "[boot][kernels]") {
  TestVm vm(trixie() + Words{"--", "uname", "-r"});
  CHECK(vm.wait_exit() == 0);
  CHECK_THAT(vm.output(), Contains("deb13-cloud-amd64"));
}

TEST_CASE("kernels: a panic of Debian 13's is told by the verdict, and by its vmcore", "[boot][kernels]") {
  const TempDirectory folder;
  const std::string core = folder("core");
  TestVm vm(trixie() + Words{"--vmcore", core, "--", "sh", "-c", "echo c >/proc/sysrq-trigger"});
  CHECK(vm.wait_exit() == 96);
  CHECK_THAT(vm.messages(), Contains("kernel panic at ") && Contains("sysrq triggered crash"));
  CHECK_THAT(vm.messages(), Contains("Linux 6.12") && Contains("KASLR offset") && Contains("sysrq_handle_crash"));
  CHECK_THAT(say({"why", core}), Contains("sysrq_handle_crash") && Contains("write_sysrq_trigger"));
  CHECK_THAT(say({"dmesg", core}),
             Contains("Linux version 6.12") && Contains("Kernel panic - not syncing: sysrq triggered crash"));
}
