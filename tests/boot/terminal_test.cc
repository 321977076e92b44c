// A person at a terminal: keys, window size, and the terminal's state afterwards.
#include <catch2/catch.hpp>

#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;
using std::chrono::milliseconds;

namespace {

constexpr auto kEscape = "\x01";
bool is_cooked(const termios& modes) { return (modes.c_lflag & (ICANON | ECHO | ISIG)) == (ICANON | ECHO | ISIG); }

}  // namespace

TEST_CASE("terminal: the keys do what the help says", "[boot][terminal]") {
  TestVm vm(small_kernel() + tiny_initramfs() + Words{"--append", "sysrq_always_enabled"}, {.terminal = true});
  CHECK(is_cooked(vm.terminal_modes()));
  vm.wait_for("tiny: ready");
  vm.wait_for("# ");
  CHECK_FALSE(is_cooked(vm.terminal_modes()));
  vm.send(kEscape + std::string("h"));
  vm.wait_for_message("quit");
  vm.send(kEscape + std::string("bh"));
  vm.wait_for("sysrq: HELP");

  vm.send(kEscape + std::string("p"));
  vm.wait_for_message("paused");
  vm.send("echo pau''sed\n");
  vm.settle(milliseconds(300));
  CHECK_THAT(vm.output(), !Contains("paused"));
  vm.send(kEscape + std::string("p"));
  vm.wait_for("paused\r\n");

  vm.send(kEscape + std::string("t"));
  CHECK_THAT(vm.run("echo a; echo b"), Contains("["));
  vm.send(kEscape + std::string("t"));
  vm.send(kEscape + std::string("r"));
  vm.wait_for("tiny: ready");
  vm.wait_for("# ");
  vm.send(kEscape + std::string("x"));
  CHECK(vm.wait_exit() == 130);
  CHECK(is_cooked(vm.terminal_modes()));
}

TEST_CASE("terminal: the virtio console has the terminal's size and follows it", "[boot][terminal]") {
  TestVm vm(small_kernel() + tiny_initramfs() + Words{"--serial", "null", "--console", "stdio"}, {.terminal = true});
  vm.wait_for("tiny: ready");
  CHECK(vm.run("tty; stty size") == "/dev/hvc0\n24 80");
  vm.resize(50, 132);
  CHECK(vm.run("for i in $(seq 600); do [ \"$(stty size)\" = '50 132' ] && break; usleep 50000; done; stty size") ==
        "50 132");
  vm.signal(SIGTERM);
  CHECK(vm.wait_exit() == 143);
  CHECK(is_cooked(vm.terminal_modes()));
}

TEST_CASE("terminal: a BREAK and c crash the kernel, and the terminal is as before", "[boot][terminal]") {
  TestVm vm(small_kernel() + tiny_initramfs() + Words{"--append", "sysrq_always_enabled"}, {.terminal = true});
  vm.wait_for("# ");
  vm.send(kEscape + std::string("bc"));
  CHECK(vm.wait_exit() == 96);
  CHECK(is_cooked(vm.terminal_modes()));
}
