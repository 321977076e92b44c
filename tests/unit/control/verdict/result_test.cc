// Results as other programs read them.
#include "vmm/control/verdict/result.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/descriptors.h"
#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;

namespace {

RunResult panicked() {
  return {.verdict = "panic",
          .reason = "kernel panic at 2.44 s: \"quoted\" <tag> & \x1b[31m\xff",
          .exit_code = 96,
          .seconds = 2.5,
          .exits = 1234,
          .kvm_exits = {{"exits", 5678}, {"halt_exits", 9}},
          .kernel = "bzImage",
          .release = "6.1.0",
          .kaslr = "0x16c00000",
          .phase = "userspace",
          .console = "run1/console.log",
          .command = {"sh", "-c", "make check"},
          .detectors = {{"console", "panic"}, {"memory", "panic"}, {"hardware", ""}},
          .vcpus = {{0, "in panic < foo", "panic+0x1", {"panic+0x1", "foo"}}},
          .last_log = {"[    2.4] one", "[    2.4] two"},
          .reproduce = "vmm --kernel bzImage -- sh -c 'make check'"};
}

}  // namespace

TEST_CASE("result: the JSON says what is known", "[result]") {
  const auto json = nlohmann::json::parse(to_json(panicked()));
  CHECK(json["verdict"] == "panic");
  CHECK(json["exit"] == 96);
  CHECK(json["command"].size() == 3);
  CHECK(json["detectors"]["console"] == "panic");
  CHECK(json["detectors"]["hardware"].is_null());
  CHECK_FALSE(json.contains("disagreement"));
  CHECK(json["kaslr"] == "0x16c00000");
  CHECK(json["phase"] == "userspace");
  CHECK(json["console"] == "run1/console.log");
  CHECK(json["exits"] == nlohmann::json{{"vmm", 1234}, {"exits", 5678}, {"halt_exits", 9}});
  CHECK(json["vcpus"][0]["doing"] == "in panic < foo");
  CHECK(json["vcpus"][0]["rip"] == "panic+0x1");
  CHECK(json["vcpus"][0]["stack"] == nlohmann::json{"panic+0x1", "foo"});
  CHECK(json["last_log"].size() == 2);
  CHECK_FALSE(json.contains("status"));
}

TEST_CASE("result: a disagreement is told, and so is what became of the command", "[result]") {
  RunResult result = panicked();
  result.disagreement = "the console shows no panic, the log in memory does";
  result.signal = 11;
  const auto json = nlohmann::json::parse(to_json(result));
  CHECK(json["disagreement"] == result.disagreement);
  CHECK(json["signal"] == 11);
}

TEST_CASE("result: each end has a name, and other monitors' codes for it", "[result]") {
  using Kind = Outcome::Kind;
  using Style = ReportConfig::ExitStyle;
  const auto [kind, code, name, simple, crosvm] = GENERATE(table<Kind, int, std::string, int, int>({
      {Kind::kPoweroff, 0, "poweroff", 0, 0},
      {Kind::kCommand, 0, "pass", 0, 0},
      {Kind::kCommand, 7, "fail", 7, 7},
      {Kind::kPanic, 96, "panic", 1, 34},
      {Kind::kPanic, 100, "no-root", 1, 34},
      {Kind::kPanic, 101, "init-died", 1, 34},
      {Kind::kOffence, 97, "offence", 1, 34},
      {Kind::kTripleFault, 98, "triple-fault", 1, 33},
      {Kind::kNoVerdict, 103, "no-verdict", 1, 33},
      {Kind::kReset, 104, "reset", 1, 32},
      {Kind::kHung, 102, "hang", 1, 36},
      {Kind::kTimeout, 124, "timeout", 124, 36},
      {Kind::kHostTrouble, 125, "error", 125, 125},
  }));
  const Outcome outcome{kind, code, {}};
  CHECK(verdict_name(outcome) == name);
  CHECK(ReportConfig{}.exit_code(outcome) == code);
  CHECK(ReportConfig{.exit_style = Style::kSimple}.exit_code(outcome) == simple);
  CHECK(ReportConfig{.exit_style = Style::kCrosvm}.exit_code(outcome) == crosvm);
}

TEST_CASE("result: JUnit is well-formed whatever a guest printed", "[result]") {
  const std::string text = to_junit(panicked());
  CHECK_THAT(text, Contains("failures=\"1\"") && Contains("&quot;quoted&quot; &lt;tag&gt; &amp; ?[31m?") &&
                       Contains("type=\"panic\"") && Contains("one&#10;") && Contains("reproduce: vmm"));
  RunResult good = panicked();
  good.exit_code = 0;
  CHECK_THAT(to_junit(good), Contains("failures=\"0\"") && !Contains("<failure"));
}

TEST_CASE("result: GitHub's annotation is one line", "[result]") {
  RunResult result = panicked();
  result.reason = "100%\nsure";
  CHECK(to_github(result) == "::error title=vmm panic::sh -c 'make check': 100%25%0Asure\n");
  result.exit_code = 0;
  CHECK(to_github(result).empty());
}

TEST_CASE("result: files that cannot be written are named by their flags before the run", "[result]") {
  const TempDirectory folder;
  folder.file("old", "yesterday's");
  CHECK_NOTHROW(ReportConfig{.json = folder("old"), .junit = folder("new")}.check());
  CHECK_THROWS_WITH(ReportConfig{.json = folder("no/r")}.check(),
                    "cannot write --result '" + folder("no/r") + "': No such file or directory");
  CHECK_THROWS_WITH((ReportConfig{.json = folder("new"), .junit = "/dev/full/x"}.check()),
                    "cannot write --junit '/dev/full/x': Not a directory");
  CHECK(contents(folder("old")) == "yesterday's");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("result: words become a line for the shell", "[result]") {
  CHECK(shell_line({"vmm", "--append", "a b", "it's", ""}) == "vmm --append 'a b' 'it'\\''s' ''");
}

TEST_CASE("result: cases that a command printed go into every form", "[result]") {
  RunResult result = panicked();
  result.cases = {{.name = "a", .status = TapCase::Status::kPassed},
                  {.name = "b", .status = TapCase::Status::kFailed},
                  {.name = "c", .status = TapCase::Status::kSkipped, .reason = "no device"}};
  const auto json = nlohmann::json::parse(to_json(result));
  CHECK(json["cases"][1]["status"] == "fail");
  CHECK(json["cases"][2]["reason"] == "no device");
  CHECK_THAT(to_junit(result), Contains("tests=\"4\" failures=\"2\" errors=\"0\" skipped=\"1\"") &&
                                   Contains("name=\"b\" time=\"0.000\">\n      <failure type=\"not ok\""));
  CHECK_THAT(to_tap(result), Contains("TAP version 14\n1..1\n# Subtest: ") && Contains("    1..3\n    ok 1 - a\n") &&
                                 Contains("    ok 3 - c # SKIP no device\nnot ok 1 - sh -c 'make check'\n# panic: ") &&
                                 Contains("# reproduce: vmm --kernel"));
  result.exit_code = 0;
  CHECK_THAT(to_tap(result), EndsWith("\nok 1 - sh -c 'make check'\n"));
}
