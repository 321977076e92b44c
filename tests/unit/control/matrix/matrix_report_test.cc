// What people and programs read of a matrix.
#include "vmm/control/matrix/matrix_report.h"

#include <catch2/catch.hpp>
#include <csignal>
#include <nlohmann/json.hpp>

using namespace vmm;
using Catch::Matchers::Contains;
using Status = MatrixResult::Status;

namespace {

struct Fixture {
  std::vector<MatrixRun> runs{{.name = "k/good", .words = {"run", "--", "true"}},
                              {.name = "k/flaky", .words = {"run", "--", "maybe"}},
                              {.name = "k/bad", .words = {"run", "--append=a b", "--", "false"}},
                              {.name = "k/host", .words = {"run", "--", "x"}},
                              {.name = "k/late", .words = {"run", "--", "y"}}};
  TestAttempt pass{.verdict = "pass", .seconds = 1, .cases = {{.name = "inner", .status = TapCase::Status::kSkipped}}};
  TestAttempt panic{.verdict = "panic",
                    .reason = "kernel panic: \x1b[31m<x>",
                    .exit_code = 96,
                    .seconds = 2,
                    .folder = "out/k/bad",
                    .last_log = {"the last line"}};
  TestAttempt error{.verdict = "error", .reason = "no /dev/kvm", .exit_code = 125};
  std::vector<MatrixResult> results{{&runs[0], {pass}, Status::kPassed},
                                    {&runs[1], {panic, pass}, Status::kFlaky},
                                    {&runs[2], {panic, panic}, Status::kFailed},
                                    {&runs[3], {error}, Status::kError},
                                    {&runs[4], {}, Status::kNotRun}};
};

}  // namespace

TEST_CASE("test report: a line for each, with every attempt", "[matrix]") {
  const Fixture f;
  CHECK(result_line(f.results[0]) == "ok      k/good (pass, 1.0 s)\n");
  CHECK(result_line(f.results[1]) == "flaky   k/flaky (panic, pass, 3.0 s)\n");
  CHECK(result_line(f.results[2]) == "FAILED  k/bad (panic, panic, 4.0 s)\n");
  CHECK(result_line(f.results[4]) == "not run k/late\n");
  CHECK(retry_line(f.runs[1], f.panic) == "retry   k/flaky (panic, 2.0 s)\n");
}

TEST_CASE("test report: the summary has a table, one reproduce line per failure, and totals", "[matrix]") {
  const std::string text = summary(Fixture().results);
  CHECK_THAT(text,
             Contains("k/flaky  flaky         3.0  panic, pass\n") && Contains("k/late   not run       0.0  -\n"));
  CHECK_THAT(text, Contains("FAILED k/bad: panic: kernel panic:  [31m<x>\n  output: out/k/bad\n  reproduce: vmm run "
                            "'--append=a b' -- false\n"));
  CHECK_THAT(text, Contains("\n5 tests: 1 passed, 1 flaky, 1 failed, 1 error, 1 not run\n"));
  CHECK_THAT(text, !Contains("reproduce: vmm run -- true"));
}

TEST_CASE("test report: JSON has all attempts", "[matrix]") {
  const auto json = nlohmann::json::parse(to_json(Fixture().results));
  CHECK(json["failed"] == 1);
  CHECK(json["not_run"] == 1);
  CHECK(json["tests"][1]["result"] == "flaky");
  CHECK(json["tests"][1]["attempts"].size() == 2);
  CHECK(json["tests"][1]["attempts"][0]["verdict"] == "panic");
  CHECK(json["tests"][0]["attempts"][0]["cases"][0]["status"] == "skip");
  CHECK(json["tests"][2]["reproduce"] == "vmm run '--append=a b' -- false");
}

TEST_CASE("test report: JUnit has failures, retries and the commands' own cases", "[matrix]") {
  const std::string text = to_junit(Fixture().results);
  // Five tests, and one case each of the two that passed in the end.
  CHECK_THAT(text, Contains("tests=\"7\" failures=\"1\" errors=\"1\" skipped=\"3\""));
  CHECK_THAT(text, Contains("name=\"k/flaky\" time=\"3.000\">\n      <flakyFailure type=\"panic\""));
  CHECK_THAT(text, Contains("<failure type=\"panic\"") && Contains("<rerunFailure type=\"panic\"") &&
                       Contains("the last line&#10;output: out/k/bad&#10;reproduce: vmm run"));
  CHECK_THAT(text, Contains("<error type=\"error\" message=\"no /dev/kvm\"") && Contains("classname=\"k/good\""));
}

TEST_CASE("test report: TAP has a line per test", "[matrix]") {
  const Fixture f;
  CHECK(to_tap(f.results[0], 1) == "ok 1 - k/good\n");
  CHECK(to_tap(f.results[1], 2) == "ok 2 - k/flaky\n# flaky: panic, pass\n");
  CHECK_THAT(to_tap(f.results[2], 3), Contains("not ok 3 - k/bad\n# FAILED: panic, panic\n# kernel panic:  [31m<x>\n"));
  CHECK_THAT(to_tap(f.results[4], 5), Contains("not ok 5 - k/late\n# not run: -\n"));
}

TEST_CASE("test report: the exit status is what a bisect can use", "[matrix]") {
  const Fixture f;
  const auto of = [&](std::vector<size_t> which, std::optional<int> signal = {}) {
    std::vector<MatrixResult> some;
    for (const size_t i : which) some.push_back(f.results[i]);
    return exit_code_of(some, signal);
  };
  CHECK(of({0}) == 0);
  CHECK(of({0, 1}) == 0);
  CHECK(of({0, 2, 3}) == 1);
  CHECK(of({0, 3}) == 125);
  CHECK(of({0, 4}, SIGINT) == 130);
  CHECK(of({2, 4}, SIGTERM) == 143);
}
