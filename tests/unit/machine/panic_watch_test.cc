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
