// Others at a serial line: `vmm console`, and gdb where kgdb shares it.
#include <catch2/catch.hpp>
#include <fstream>

#include "tests/support/payload.h"
#include "tests/support/temp_file.h"
#include "tests/support/test_vm.h"
#include "tests/support/unix_ends.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

bool is_cooked(const termios& modes) { return (modes.c_lflag & (ICANON | ECHO | ISIG)) == (ICANON | ECHO | ISIG); }

}  // namespace

TEST_CASE("console: two come to a machine's serial line, type, and leave it running", "[payload][console]") {
  const TempDirectory folder;
  TestVm vm(payload("case=echo status=3",
                    {"--serial", "file=" + folder("log"), "--ctl", folder("s"), "--hang-timeout", "none"}));
  vm.wait_for_message("1 vCPU");
  TestVm terminal({"console", folder("s")}, {.terminal = true});
  terminal.wait_for_message("at ttyS0 of '" + folder("s") + "', whose own end is file " + folder("log"));
  CHECK_FALSE(is_cooked(terminal.terminal_modes()));
  TestVm piped({"console", folder("s"), "ttyS0"});
  piped.wait_for_message("; 1 more there");
  terminal.send("ab\x01\x01\x03");
  terminal.wait_for("<a><b><\x01><\x03>");
  piped.wait_for("<a><b><\x01><\x03>");
  piped.send("\x01x");
  terminal.wait_for("<\x01><x>");

  terminal.send("\x01h");
  terminal.wait_for_message("the machine runs on");
  terminal.send("\x01w");
  terminal.wait_for_message("vCPU 0: in user space");
  terminal.send("\x01x");
  CHECK(terminal.wait_exit() == 0);
  CHECK(is_cooked(terminal.terminal_modes()));
  piped.close_input();  // which ends nothing
  TestVm killed({"console", folder("s")}, {.terminal = true});
  killed.wait_for_message("; 1 more there");
  killed.signal(SIGTERM);
  CHECK(killed.wait_exit() == 143);
  CHECK(is_cooked(killed.terminal_modes()));

  TestVm last({"console", folder("s")});
  last.send("q");
  last.wait_for("payload: done");
  CHECK(vm.wait_exit() == debug_status(3));
  CHECK(last.wait_exit() == 0);
  CHECK(piped.wait_exit() == 0);
  CHECK_THAT(piped.messages(), Contains("has ended"));
  std::ifstream log(folder("log"));
  CHECK_THAT(std::string(std::istreambuf_iterator<char>(log), {}), Contains("<a><b>") && Contains("payload: done"));
}

TEST_CASE("console: what is not there is named", "[payload][console]") {
  const TempDirectory folder;
  TestVm vm(payload("case=spin", {"--ctl", folder("s"), "--hang-timeout", "none"}));
  vm.wait_for("payload: spinning");
  TestVm wrong({"console", folder("s"), "hvc0"});
  CHECK(wrong.wait_exit() == 125);
  CHECK_THAT(wrong.messages(), Contains("the machine has no console 'hvc0'\n  fix: ttyS0"));
}

TEST_CASE("console: kgdb's packets have an end of their own, which enters the kernel first",
          "[payload][console][gdb]") {
  const TempDirectory folder;
  TestVm vm(payload("case=kgdb status=3", {"--serial", "stdio,split-gdb=unix:" + folder("g")}));
  vm.wait_for("payload: a console\n");
  HostEnd gdb(folder("g"));
  std::string heard;
  const auto ask = [&](const std::string& packet, const std::string& expected) {
    gdb.send(packet);
    for (int i = 0; i < 1000 && !heard.ends_with(expected); ++i) {
      heard += gdb.receive();
      vm.settle(std::chrono::milliseconds(10));
    }
  };
  ask("+$?#3f", "+$S05#b8");
  ask("+$g#67", "+$#00");
  ask("+$D#44", "+$OK#9a");
  CHECK(heard == "+$S05#b8+$#00+$OK#9a");
  CHECK(vm.wait_exit() == debug_status(3));
  CHECK(vm.output() == "payload: a console\npayload: entered$\npayload: left\npayload: done\n");
}
