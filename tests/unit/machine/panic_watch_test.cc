// What counts as a kernel panic on a console, and what does not.
#include "vmm/machine/panic_watch.h"

#include <catch2/catch.hpp>

#include "vmm/machine/outcome.h"

using namespace vmm;

namespace {

void print(PanicWatch& watch, const std::string& text) { watch.feed(std::as_bytes(std::span(text))); }

constexpr auto kPanicLine = "[    2.441000] Kernel panic - not syncing: sysrq triggered crash\r\n";
constexpr auto kEndLine = "[    2.447000] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\r\n";

}  // namespace

TEST_CASE("panic watch: a panic is seen with its reason", "[panic]") {
  PanicWatch watch;
  print(watch, std::string(kPanicLine) + "[    2.442000] CPU: 0 PID: 1\r\n" + kEndLine);
  REQUIRE(watch.reason());
  CHECK(*watch.reason() == "sysrq triggered crash");
  CHECK(watch.silence_needed() == PanicWatch::kSilence);
}

TEST_CASE("panic watch: the last words tell of a panic whose first line was torn", "[panic]") {
  PanicWatch watch;
  print(watch, "[    2.4] Kernel p$ echo anic - not syncing: sysrq triggered crash\r\n[    2.4] CPU: 0 PID: 1\r\n");
  CHECK_FALSE(watch.reason());
  print(watch, kEndLine);
  REQUIRE(watch.reason());
  CHECK(*watch.reason() == "sysrq triggered crash");
  CHECK(watch.silence_needed() == PanicWatch::kSilence);

  print(watch, "root@debian:~# ");
  CHECK_FALSE(watch.reason());
}

TEST_CASE("panic watch: last words without a reason, or torn themselves, tell of none", "[panic]") {
  PanicWatch watch;
  print(watch, "---[ end Kernel panic ]---\n---[ end Kernel panic - not syncing: x\n---[ end Kernel panic - not syn");
  CHECK_FALSE(watch.reason());
}

TEST_CASE("panic watch: a panic cut into single bytes is seen", "[panic]") {
  PanicWatch watch;
  for (const char c : std::string(kPanicLine)) print(watch, std::string(1, c));
  CHECK(watch.reason());
  CHECK(watch.silence_needed() == PanicWatch::kLongSilence);
}

TEST_CASE("panic watch: levels and caller marks in front of the text are passed over", "[panic]") {
  PanicWatch watch;
  print(watch, "<0>[    1.0][    T1] Kernel panic - not syncing: x\n");
  CHECK(watch.reason());
}

TEST_CASE("panic watch: an old log that is printed is no panic once a prompt follows", "[panic]") {
  PanicWatch watch;
  print(watch, std::string(kPanicLine) + kEndLine + "root@debian:~# ");
  CHECK_FALSE(watch.reason());
}

TEST_CASE("panic watch: the words inside another line are no panic", "[panic]") {
  PanicWatch watch;
  print(watch, "grep 'Kernel panic - not syncing: ' log\n");
  CHECK_FALSE(watch.reason());
}

TEST_CASE("panic watch: why an init gave up is the reason of the panic that follows", "[panic]") {
  const auto [words, code] = GENERATE(
      table<std::string, int>({{"VFS: Unable to mount root fs on \"/dev/vda\": no such device", exit_code::kNoRoot},
                               {"Requested init /x failed (error -2).", exit_code::kPanic},
                               {"No working init found.  Try passing init= option to kernel.", exit_code::kPanic}}));
  PanicWatch watch;
  print(watch,
        "[    1.0] " + words + "\n[    1.1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\n");
  REQUIRE(watch.reason());
  CHECK(*watch.reason() == words);
  CHECK(panic_exit_code(*watch.reason()) == code);
}

TEST_CASE("panic watch: a crash kernel's words end the suspicion, and the panic is remembered", "[panic]") {
  // A kernel that is told to be quiet may begin later.
  const std::string words = GENERATE("[    0.000000] Linux version 6.1.0\n", "[    0.900000] a driver's warning\n");
  PanicWatch watch;
  print(watch, std::string(kPanicLine) + "[    2.442000] CPU: 0 PID: 1\n" + words);
  CHECK_FALSE(watch.reason());
  REQUIRE(watch.survived());
  CHECK(*watch.survived() == "sysrq triggered crash");
  print(watch, "[    1.5] Kernel panic - not syncing: another\n");
  CHECK(*watch.reason() == "another");
  CHECK(*watch.survived() == "sysrq triggered crash");
}

TEST_CASE("panic watch: lines of several CPUs are in no order, and no other kernel's", "[panic]") {
  PanicWatch watch;
  print(watch, std::string(kPanicLine) + "[    2.440990] CPU: 1 PID: 0\n");
  CHECK(watch.reason());
  CHECK_FALSE(watch.survived());
}

TEST_CASE("panic watch: a kernel that boots after a panic's last words is no crash kernel", "[panic]") {
  PanicWatch watch;
  print(watch, std::string(kPanicLine) + kEndLine + "[    0.000000] Linux version 6.1.0\n");
  CHECK_FALSE(watch.reason());
  CHECK_FALSE(watch.survived());
}

TEST_CASE("panic watch: a crash kernel is given time to speak", "[panic]") {
  PanicWatch watch;
  watch.expect_crash_kernel();
  print(watch, kPanicLine);
  CHECK(watch.silence_needed() == PanicWatch::kCrashKernelSilence);
  print(watch, kEndLine);
  CHECK(watch.silence_needed() == PanicWatch::kSilence);
}

TEST_CASE("panic watch: a panic can be taken back", "[panic]") {
  PanicWatch watch;
  print(watch, kPanicLine);
  watch.take_back();
  CHECK_FALSE(watch.reason());
  CHECK_FALSE(watch.survived());
}

TEST_CASE("panic watch: it keeps the last twenty lines", "[panic]") {
  PanicWatch watch;
  for (int i = 0; i < 50; ++i) print(watch, "line " + std::to_string(i) + "\n");
  CHECK(watch.tail().size() == 20);
  CHECK(watch.tail().back() == "line 49");
}

TEST_CASE("panic watch: a line without an end stays bounded", "[panic]") {
  PanicWatch watch;
  print(watch, std::string(1 << 20, 'x') + "\n");
  CHECK(watch.tail().back().size() == 1024);
}

TEST_CASE("panic watch: control characters reach neither the reason nor the last lines", "[panic]") {
  PanicWatch watch;
  print(watch, "Kernel panic - not syncing: a\x1b[2Jb\n");
  CHECK(*watch.reason() == "a?[2Jb");
  CHECK(watch.tail().back().find('\x1b') == std::string::npos);
}

TEST_CASE("panic watch: panics with a known cause have their own exit codes", "[panic]") {
  CHECK(panic_exit_code("VFS: Unable to mount root fs on unknown-block(0,0)") == exit_code::kNoRoot);
  CHECK(panic_exit_code("Attempted to kill init! exitcode=0x0000000b") == exit_code::kInitDied);
  CHECK(panic_exit_code("Fatal exception") == exit_code::kPanic);
  // An init that never ran did not die.
  CHECK(panic_exit_code("Requested init /x failed (error -2).") == exit_code::kPanic);
  CHECK(panic_exit_code("No working init found.  Try passing init= option to kernel.") == exit_code::kPanic);
}
