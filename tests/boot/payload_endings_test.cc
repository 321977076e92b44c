// How a machine ends, and what vmm says and returns then: payload kernels on whatever KVM there is.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>

#include "tests/support/descriptors.h"
#include "tests/support/payload.h"
#include "tests/support/temp_file.h"
#include "tests/support/test_vm.h"

using namespace vmm::test;
using Catch::Matchers::Contains;
using Catch::Matchers::Matches;

TEST_CASE("payload: a Multiboot kernel speaks on the serial line and ends with a status", "[payload]") {
  TestVm vm(payload("case=hello status=16"));
  vm.wait_for("payload: hello\n");
  CHECK(vm.wait_exit() == debug_status(16));
  CHECK_THAT(vm.messages(), Contains("guest ended with status 33 (it wrote 0x10 to the debug exit port)"));
}

TEST_CASE("payload: status 0 on the debug-exit port is 1 for the caller", "[payload]") {
  TestVm vm(payload("case=hello"));
  CHECK(vm.wait_exit() == 1);
}

TEST_CASE("payload: a status on the debug-exit port that vmm has meanings for is reported as 95", "[payload]") {
  const TempDirectory folder;
  TestVm vm(payload("case=hello status=48", {"--result", folder("r.json")}));
  CHECK(vm.wait_exit() == 95);
  CHECK_THAT(vm.messages(),
             Contains("guest ended with status 97 (it wrote 0x30 to the debug exit port), which is reported as 95"));
  CHECK_THAT(contents(folder("r.json")), Contains("\"exit\": 95") && Contains("\"status\": 97"));
}

TEST_CASE("payload: a disk that hangs at the end leaves all that a normal end leaves, and the cause", "[payload]") {
  const TempDirectory folder;
  const TempFile hanging(4096);
  ::setenv("LD_PRELOAD", STUCK_DISK, 1);
  TestVm vm(payload("case=power-off", {"--disk", hanging.path(), "--ctl", folder("s"), "--result", folder("r.json"),
                                       "--junit", folder("r.xml"), "--serial", "file=" + folder("console")}));
  ::unsetenv("LD_PRELOAD");
  CHECK(vm.wait_exit() == 125);
  CHECK_THAT(vm.messages(), Contains(hanging.path() + " (raw, 0.0 MiB) does not answer for 10 s; giving up on it"));
  CHECK_THAT(vm.messages(), Contains("guest powered off, but not all of its data is safe: " + hanging.path()));
  CHECK_THAT(contents(folder("r.json")), Contains("\"exit\": 125") && Contains("\"stuck\": \"" + hanging.path()));
  CHECK_THAT(contents(folder("r.xml")), Contains("does not answer for 10 s"));
  CHECK_FALSE(std::filesystem::exists(folder("s")));
}

TEST_CASE("payload: the interrupt table is that of real mode until a kernel has its own", "[payload]") {
  TestVm vm(payload("case=find-vectors status=3"));
  CHECK(vm.wait_exit() == debug_status(3));
}

TEST_CASE("payload: sleep state S5 powers off with status 0", "[payload]") {
  TestVm vm(payload("case=power-off"));
  CHECK(vm.wait_exit() == 0);
  CHECK_THAT(vm.messages(), Contains("vmm: guest powered off"));
}

// Where it was is not asked: KVM on AMD resets the vCPU before it reports a shutdown.
TEST_CASE("payload: a triple fault ends with 98 and its registers", "[payload]") {
  TestVm vm(payload("case=triple-fault"));
  CHECK(vm.wait_exit() == 98);
  CHECK_THAT(vm.messages(), Contains("vmm: triple fault on vCPU 0") && Contains("last exits: "));
}

TEST_CASE("payload: an instruction that KVM cannot run ends with 99, its bytes and the registers", "[payload]") {
  TestVm vm(payload("case=unknown-instruction"));
  CHECK(vm.wait_exit() == 99);
  CHECK_THAT(vm.messages(), Contains("vmm: KVM internal error on vCPU 0"));
  CHECK_THAT(vm.messages(), Contains("0f fe 05 00 00 00 d0"));  // paddd 0xd0000000, %mm0
  CHECK_THAT(vm.messages(), Contains("rip 0000000000"));
}

TEST_CASE("payload: a vCPU that spins with interrupts off ends with 102, and where it was", "[payload]") {
  TestVm vm(payload("case=spin", {"--hang-timeout", "1", "--timeout", "100"}));
  CHECK(vm.wait_exit() == 102);
  CHECK_THAT(vm.messages(), Contains("vmm: no progress for 1 s: vCPU 0 spins with interrupts off"));
}

TEST_CASE("payload: a vCPU that is halted with interrupts off ends with 102", "[payload]") {
  TestVm vm(payload("case=halt", {"--hang-timeout", "1", "--timeout", "100"}));
  CHECK(vm.wait_exit() == 102);
  CHECK_THAT(vm.messages(), Contains("halted with interrupts off: nothing wakes it"));
}

TEST_CASE("payload: who computes with interrupts off is not hung", "[payload]") {
  TestVm vm(payload("case=compute millions=3000 status=5", {"--hang-timeout", "0.2", "--timeout", "100"}));
  CHECK(vm.wait_exit() == debug_status(5));
}

TEST_CASE("payload: each way to reset ends with 104", "[payload]") {
  const TempFile disk(4096);
  const auto way = GENERATE(as<std::string>(), "8042", "cf9", "92", "acpi");
  TestVm vm(payload("case=count-boots by=" + way, {"--disk", disk.path()}));
  CHECK(vm.wait_exit() == 104);
  CHECK_THAT(vm.messages(), Contains("vmm: guest asked for a reset"));
}

TEST_CASE("payload: with --on-reset reboot a reset boots again", "[payload]") {
  const TempFile disk(4096);
  const auto way = GENERATE(as<std::string>(), "8042", "cf9", "92", "acpi");
  TestVm vm(payload("case=count-boots boots=4 status=7 by=" + way, {"--disk", disk.path(), "--on-reset", "reboot"}));
  vm.wait_for("payload: boot 1\n");
  vm.wait_for("payload: boot 4\n");
  CHECK(vm.wait_exit() == debug_status(7));
}

TEST_CASE("payload: forty reboots need no more descriptors", "[payload]") {
  const TempFile disk(4096);
  TestVm vm(payload("case=count-boots boots=40 by=cf9", {"--disk", disk.path(), "--on-reset", "reboot"}));
  const std::string descriptors = "/proc/" + std::to_string(vm.pid()) + "/fd";
  const auto count = [&] { return std::distance(std::filesystem::directory_iterator(descriptors), {}); };
  // The most of several boots: at any one moment a machine may be half built.
  const auto most = [&](int first, int last) {
    auto highest = count();
    for (int boot = first; boot <= last; ++boot) {
      vm.wait_for("payload: boot " + std::to_string(boot) + "\n");
      highest = std::max(highest, count());
    }
    return highest;
  };
  const auto early = most(3, 12);
  CHECK(most(29, 38) <= early + 3);
  CHECK(vm.wait_exit() == 1);
}

TEST_CASE("payload: with --on-reset pause the machine stands still until it is ended", "[payload]") {
  const TempFile disk(4096);
  TestVm vm(payload("case=count-boots by=cf9", {"--disk", disk.path(), "--on-reset", "pause"}));
  vm.wait_for_message("paused");
  vm.settle(std::chrono::milliseconds(200));
  CHECK_THAT(vm.output(), !Contains("boot 2"));
  vm.signal(SIGTERM);
  CHECK(vm.wait_exit() == 143);
}

TEST_CASE("payload: a guest that ended by a reset cannot go on, and the key says so", "[payload][terminal]") {
  const TempFile disk(4096);
  TestVm vm(payload("case=count-boots by=cf9", {"--disk", disk.path(), "--on-reset", "pause"}), {.terminal = true});
  vm.wait_for_message("paused");
  vm.send("\x01p");
  vm.wait_for_message("the guest has ended and cannot go on");
  vm.send("\x01r");
  vm.wait_for("payload: boot 2");
  CHECK(vm.wait_exit() == 1);
}

TEST_CASE("payload: a reset that somebody asks for is none of the panic before it", "[payload][terminal]") {
  TestVm vm(payload("case=panic"), {.terminal = true});
  vm.wait_for("payload: still here");
  vm.send("\x01r");
  vm.wait_for("payload: panic");
  vm.send("\x01x");
  CHECK(vm.wait_exit() == 130);
}

TEST_CASE("payload: whatever signal ends it, the terminal is as before", "[payload][terminal]") {
  const int number = GENERATE(SIGXCPU, SIGALRM, SIGUSR2, SIGVTALRM, SIGPROF, SIGSEGV, SIGIO, SIGPWR);
  TestVm vm(payload("case=spin"), {.terminal = true});
  const tcflag_t before = vm.terminal_modes().c_lflag;
  vm.wait_for("payload: spinning");
  CHECK(vm.terminal_modes().c_lflag != before);
  vm.signal(number);
  CHECK(vm.wait_exit() == 128 + number);
  CHECK(vm.terminal_modes().c_lflag == before);
}

TEST_CASE("payload: in the background it goes on, though a terminal may stop what is there", "[payload][terminal]") {
  TestVm vm(payload("case=flood kilobytes=64 status=3"), {.terminal = true, .background = true});
  vm.send("typed\n");
  CHECK(vm.wait_exit() == debug_status(3));
}

TEST_CASE("payload: a timeout ends a guest that spins, and says where", "[payload]") {
  TestVm vm(payload("case=spin", {"--timeout", "8"}));
  CHECK(vm.wait_exit() == 124);
  CHECK_THAT(vm.messages(), Contains("  | payload: spinning") && Contains("vmm: timed out after ") &&
                                Contains("  vCPU 0: in user space at 0x") && Contains("no VMCOREINFO in guest memory"));
}

TEST_CASE("payload: the idle timeout counts from the last output", "[payload]") {
  TestVm silent(payload("case=spin", {"--idle-timeout", "0.5"}));
  CHECK(silent.wait_exit() == 124);
  CHECK_THAT(silent.messages(), Contains("vmm: no output any more: timed out after "));
  TestVm talking(payload("case=flood kilobytes=16 status=3", {"--idle-timeout", "20"}));
  CHECK(talking.wait_exit() == debug_status(3));
}

TEST_CASE("payload: signals end a guest that spins with interrupts off", "[payload]") {
  const auto [number, status] =
      GENERATE(table<int, int>({{SIGTERM, 143}, {SIGHUP, 143}, {SIGINT, 130}, {SIGQUIT, 130}}));
  TestVm vm(payload("case=spin"));
  vm.wait_for("payload: spinning\n");
  vm.signal(number);
  CHECK(vm.wait_exit() == status);
}

TEST_CASE("payload: a signal ends the wait for a pipe that says what is allowed", "[payload]") {
  const TempDirectory folder;
  REQUIRE(::mkfifo(folder("pipe").c_str(), 0600) == 0);
  TestVm vm(payload("case=hello", {"--allow", folder("pipe")}));
  vm.settle(std::chrono::milliseconds(1000));
  vm.signal(SIGTERM);
  CHECK(vm.wait_exit() == 143);
}

TEST_CASE("payload: a machine that was stopped and continued goes on", "[payload]") {
  TestVm vm(payload("case=flood kilobytes=16 status=3"));
  vm.wait_for("xxx");
  vm.signal(SIGSTOP);
  vm.settle(std::chrono::milliseconds(100));
  vm.signal(SIGCONT);
  vm.wait_for("payload: done\n");
  CHECK(vm.wait_exit() == debug_status(3));
}
