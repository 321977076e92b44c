// The black box with stock kernels: Debian's, with KASLR and `quiet`, and no help from the guest.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "tests/support/guests.h"
#include "tests/support/kernel_log.h"

using namespace vmm::test;
using Catch::Matchers::Contains;
using Catch::Matchers::Matches;

namespace {

constexpr auto kEscape = "\x01";

Words debian(const std::string& command) { return debian_kernel() + Words{"--append", "tiny.run=\"" + command + "\""}; }

}  // namespace

TEST_CASE("black box: a panic that the kernel printed nowhere is found in memory", "[boot][blackbox]") {
  // Its init cannot open /dev/console.
  TestVm vm(debian_kernel() + Words{"--serial", "null", "--append", "console=none panic=-1"});
  CHECK(vm.wait_exit() == 101);
  CHECK_THAT(vm.messages(), Contains("vmm: kernel panic at ") && Contains("Attempted to kill init!"));
  CHECK_THAT(line_with(vm.messages(), "  stack: "), Contains("do_exit") && Contains(" < do_group_exit < "));
}

TEST_CASE("black box: a panic is told with its log and the stack of every vCPU", "[boot][blackbox]") {
  TestVm vm(debian("echo c >/proc/sysrq-trigger") + Words{"--cpus", "2", "--serial", "null"});
  CHECK(vm.wait_exit() == 96);
  CHECK_THAT(vm.messages(), Contains("vmm: kernel panic at ") && Contains(": sysrq triggered crash"));
  CHECK_THAT(vm.messages(), Contains("  | [ ") && Contains("---[ end Kernel panic"));
  CHECK_THAT(line_with(vm.messages(), "KASLR"), Matches("  Linux 6[.].*-cloud-amd64, KASLR offset 0x[0-9a-f]+00000"));
  CHECK_THAT(line_with(vm.messages(), "  stack: "), Matches("  stack: sysrq_handle_crash < .*__handle_sysrq.* < "
                                                            "write_sysrq_trigger < proc_reg_write < vfs_write < .*"));
  // The other one does what the panic made it do.
  CHECK_THAT(line_with(vm.messages(), "  vCPU "), Matches("  vCPU [01]: (in|halted in) [a-z0-9_.]+[+]0x.* < .*"));
}

TEST_CASE("black box: the log in memory equals the serial log of the same boot", "[boot][blackbox]") {
  TestVm vm(debian_kernel() + Words{"--append", "ignore_loglevel sysrq_always_enabled"}, {.terminal = true});
  vm.wait_for("tiny: ready");
  vm.wait_for("# ");
  vm.send(kEscape + std::string("m"));
  vm.wait_for_message(" lines of log");
  vm.settle(std::chrono::milliseconds(3000));
  const std::vector<std::string> memory = kernel_lines(vm.messages(), "  | ");
  const std::vector<std::string> serial = kernel_lines(vm.output());
  REQUIRE(memory.size() > 200);
  // The kernel may have gone on talking after the key.
  REQUIRE(serial.size() >= memory.size());
  for (size_t i = 0; i < memory.size(); ++i) CHECK(memory[i] == serial[i]);
  vm.send(kEscape + std::string("x"));
  CHECK(vm.wait_exit() == 130);
}

TEST_CASE("black box: the keys show stacks and a log that the console kept quiet about", "[boot][blackbox]") {
  TestVm vm(debian_kernel() + Words{"--cpus", "2"}, {.terminal = true});
  vm.wait_for("tiny: ready");
  vm.wait_for("# ");
  vm.settle(std::chrono::milliseconds(1000));
  CHECK_THAT(vm.output(), !Contains("Linux version"));
  vm.send(kEscape + std::string("m"));
  vm.wait_for_message("Linux version");
  vm.wait_for_message("Run /init as init process");
  // An idle guest has its moments of work, too.
  for (int tries = 0; tries < 20 && vm.messages().find(" < do_idle < ") == std::string::npos; ++tries) {
    vm.send(kEscape + std::string("w"));
    vm.wait_for_message("vmm: Linux 6.");
    vm.wait_for_message("KASLR offset");
    CHECK_THAT(vm.wait_for_message("  vCPU 1: "), Contains("  vCPU 0: "));
    vm.settle(std::chrono::milliseconds(500));
  }
  CHECK_THAT(vm.messages(), Contains("halted in ") && Contains("default_idle") && Contains(" < do_idle < "));
  CHECK(vm.run("echo on") == "on");  // it goes on
  vm.send(kEscape + std::string("x"));
  CHECK(vm.wait_exit() == 130);
}

TEST_CASE("black box: a timeout tells what the guest was about", "[boot][blackbox]") {
  TestVm vm(debian("while true; do :; done") + Words{"--timeout", "60"});  // long enough to boot on a busy host
  CHECK(vm.wait_exit() == 124);
  CHECK_THAT(vm.output(), Contains("tiny: ready"));
  CHECK_THAT(vm.messages(), Contains("  | [ ") && Contains("vmm: timed out after "));
  CHECK_THAT(line_with(vm.messages(), "  vCPU 0: "), Matches("  vCPU 0: in (user space at 0x|[a-z_]+[+]0x).*"));
}
