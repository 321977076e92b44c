// `vmm test` with real kernels.
#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/descriptors.h"
#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

namespace {

// Where the CPU is emulated there is one, and little memory.
std::string file_of(const std::string& commands) {
  return "mem = \"192M\"\nappend = \"quiet\"\ndisk = \"" + tiny_disk() + ",ephemeral\"\n" + commands +
         "[run]\njobs = 2\nhost-cpus = 2\nhost-mem = \"1G\"\n";
}
// Whether a guest has been started that leaves its files below `place`.
bool has_console(const std::string& place) {
  if (!std::filesystem::exists(place)) return false;
  const std::filesystem::recursive_directory_iterator all(place);
  return std::ranges::any_of(all, [](const auto& entry) { return entry.path().filename() == "console.log"; });
}
std::string kernel() { return "kernel = \"" + image("KERNEL", "bzImage") + "\"\n"; }

}  // namespace

TEST_CASE("matrix: two configurations and two commands, one of which fails", "[boot][matrix]") {
  const TempDirectory folder;
  const std::string file = folder.file("vmm.toml", file_of(kernel() + R"(
[[config]]
name = "one"
[[config]]
name = "two"
cpus = 2
[[command]]
name = "cpus"
run = "test $(nproc) = 1 || { echo two; exit 3; }"
[[command]]
name = "tap"
run = "echo KTAP version 1; echo 1..2; echo ok 1 a; echo ok 2 b '# SKIP' none"
expect-tap = true
)"));
  TestVm vm({"test", file, "--output", folder("out"), "--result", folder("r.json"), "--junit", folder("r.xml")});
  CHECK(vm.wait_exit() == 1);
  CHECK_THAT(vm.output(), Contains("ok      one/cpus (pass, ") && Contains("FAILED  two/cpus (fail, ") &&
                              Contains("\nFAILED two/cpus: fail: the command ended with status 3\n") &&
                              Contains("\n4 tests: 3 passed, 1 failed\n"));
  CHECK(contents(folder("out/two/cpus/stdout")) == "two\n");
  CHECK_THAT(contents(folder("out/one/tap/stdout")), Contains("ok 1 a"));
  const auto json = nlohmann::json::parse(contents(folder("r.json")));
  CHECK(json["tests"][1]["attempts"][0]["cases"].size() == 2);
  CHECK(json["tests"][2]["attempts"][0]["exit"] == 3);
  CHECK_THAT(contents(folder("r.xml")), Contains("tests=\"8\" failures=\"1\" errors=\"0\" skipped=\"2\""));
  // What it says reproduces the failure does.
  std::string words = json["tests"][2]["reproduce"];
  REQUIRE(words.starts_with("vmm run "));
  const char* program = std::getenv("VMM");
  words.replace(0, 3, program != nullptr ? program : "build/vmm/vmm");
  CHECK(std::system((words + " >'" + folder("again") + "'").c_str()) == 3 << 8);
  CHECK(contents(folder("again")) == "two\n");
}

TEST_CASE("matrix: a panic, and a kernel that is none, each fail for what they are", "[boot][matrix]") {
  const TempDirectory folder;
  const std::string file = folder.file("vmm.toml", file_of("[[kernel]]\nname = \"good\"\n" + kernel() +
                                                           "[[kernel]]\nname = \"none\"\nkernel = \"/etc/passwd\"\n"));
  TestVm vm({"test", file, "--tap", "--retries", "1", "--output", folder("out"), "--", "sh", "-c",
             "echo c >/proc/sysrq-trigger"});
  CHECK(vm.wait_exit() == 1);
  CHECK_THAT(vm.output(), Contains("TAP version 14\n1..2\n") && Contains("- good\n# FAILED: panic, panic\n") &&
                              Contains("- none\n# error: error, error\n"));
  CHECK_THAT(vm.messages(), Contains("error none: error: '/etc/passwd' is not a bootable kernel") &&
                                Contains("\n2 tests: 1 failed, 1 error\n"));
  CHECK_THAT(contents(folder("out/good/console.log")), Contains("Kernel panic - not syncing"));
}

TEST_CASE("matrix: SIGTERM ends guests and says what was not run", "[boot][matrix]") {
  const TempDirectory folder;
  const std::string file = folder.file("vmm.toml", file_of(kernel()));
  TestVm vm({"test", file, "--output", folder("out"), "--", "sleep", "1000"});
  // Its guest is under way when there is a console.
  while (!has_console(folder("out"))) vm.settle(std::chrono::milliseconds(100));
  vm.signal(SIGTERM);
  CHECK(vm.wait_exit() == 143);
  CHECK_THAT(vm.output(), Contains("1 test: 1 not run"));
}

TEST_CASE("tap: a run in TAP, and TAP that decides", "[boot][matrix]") {
  const Words guest = small_kernel() + Words{"--disk", tiny_disk() + ",ephemeral", "--tap"};
  const Words script{"--", "sh", "-c", "echo 1..2; echo ok 1 - a; echo not ok 2 - b"};
  TestVm judged(guest + Words{"--expect-tap"} + script);
  CHECK(judged.wait_exit() == 1);
  CHECK_THAT(judged.output(),
             Contains("TAP version 14\n1..1\n# Subtest: ") && Contains("    not ok 2 - b\nnot ok 1 - "));
  CHECK_THAT(judged.messages(), Contains("not ok 2 - b\n") && Contains("by the command's TAP: 1 of 2 failed"));
  TestVm shown(guest + script);
  CHECK(shown.wait_exit() == 0);
  CHECK_THAT(shown.output(), Contains("\nok 1 - "));
}

TEST_CASE("matrix: a terminal shows what is under way, below the lines that a pipe gets", "[boot][matrix]") {
  const TempDirectory folder;
  const std::string file =
      folder.file("vmm.toml", file_of(kernel() + "[[command]]\nname = \"nap\"\nrun = \"sleep 2\"\n"));
  ::setenv("TERM", "xterm", 1);
  const std::string clear = "\r\x1b[K";
  TestVm at_terminal({"test", file, "--output", folder("out")}, {.terminal = true});
  at_terminal.wait_for(clear + "[0/1] nap" + clear);
  CHECK(at_terminal.wait_exit() == 0);
  const std::string& shown = at_terminal.output();
  CHECK_THAT(shown, Contains(clear + "ok      nap (pass, "));
  CHECK(shown.find('[', shown.rfind(clear) + clear.size()) == std::string::npos);

  TestVm at_pipe({"test", file, "--output", folder("out2")});
  CHECK(at_pipe.wait_exit() == 0);
  CHECK_THAT(at_pipe.output(), StartsWith("ok      nap (pass, ") && !Contains("\x1b"));
}
