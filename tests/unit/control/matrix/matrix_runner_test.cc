// Processes in place of vmm: shell scripts that do as their test's command says.
#include "vmm/control/matrix/matrix_runner.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>

#include "tests/support/descriptors.h"
#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;
using Status = MatrixResult::Status;

namespace {

// Runs the words after -- in a shell in which `result VERDICT STATUS` writes the file and ends, and $name, $folder and
// $work say where we are.
constexpr const char* kProgram = R"(#!/bin/sh
for word; do
  shift
  case $word in
    --result=*) file=${word#--result=} ;;
    --) break ;;
  esac
done
folder=${file%/*}
result() {
  printf '{"verdict": "%s", "reason": "because", "exit": %s, "last_log": ["log"], "cases": [{"name": "c", "status": "fail"}]}' "$1" "$2" >"$file"
  exit "$2"
}
eval "$1"
)";

struct Fixture {
  Fixture() {
    ::chmod(folder.file("program", kProgram).c_str(), 0755);
    options.budget = {.jobs = 4, .cpus = 4, .memory = 4};
    options.program = folder("program");
    options.output = folder("out");
  }
  void add(const std::string& name, const std::string& script, unsigned cpus = 1, uint64_t memory = 1) {
    runs.push_back({.name = name, .words = {"run", "--", script}, .cpus = cpus, .memory = memory});
  }
  const std::vector<MatrixResult>& run() {
    runner.emplace(
        loop, runs, options,
        MatrixRunner::Events{.on_retry = [this](const MatrixRun&, const TestAttempt&) { ++retries; },
                             .on_result = [this](const MatrixResult& result) { ended.push_back(result.run->name); }});
    results = runner->run();
    return results;
  }

  TempDirectory folder;
  EventLoop loop;
  std::vector<MatrixRun> runs;
  MatrixRunner::Options options;
  std::optional<MatrixRunner> runner;
  std::vector<MatrixResult> results;
  std::vector<std::string> ended;
  unsigned retries = 0;
};

}  // namespace

TEST_CASE("test runner: every test has its verdict, and a folder with what it printed", "[matrix]") {
  Fixture f;
  f.add("a/good", "echo out; echo err >&2; result pass 0");
  f.add("a/bad", "result panic 96");
  f.run();
  CHECK(f.results[0].status == Status::kPassed);
  CHECK(f.results[1].status == Status::kFailed);
  CHECK(f.results[1].attempts.at(0).verdict == "panic");
  CHECK(f.results[1].attempts[0].reason == "because");
  CHECK(f.results[1].attempts[0].last_log == std::vector<std::string>{"log"});
  CHECK(f.results[1].attempts[0].cases.at(0).status == TapCase::Status::kFailed);
  CHECK(contents(f.folder("out/a/good/stdout")) == "out\n");
  CHECK(contents(f.folder("out/a/good/stderr")) == "err\n");
  CHECK(f.ended.size() == 2);
}

TEST_CASE("test runner: retries of an earlier matrix are not taken for today's", "[matrix]") {
  Fixture f;
  f.options.retries = 2;
  f.add("x", "result panic 96");
  f.run();
  REQUIRE(std::filesystem::exists(f.folder("out/x/retry-2/result.json")));
  f.runner.reset();
  f.runs.clear();
  f.add("x", "result pass 0");
  f.run();
  CHECK_FALSE(std::filesystem::exists(f.folder("out/x/retry-1")));
  CHECK_FALSE(std::filesystem::exists(f.folder("out/x/retry-2")));
}

TEST_CASE("test runner: without a result that agrees with the status nothing has passed", "[matrix]") {
  const auto [script, reason] = GENERATE(table<std::string, std::string>({
      {"exit 0", "left no result"},
      {"exit 125", "left no result"},
      {"echo 'vmm: cannot start: no' >&2; exit 125", "left no result: cannot start: no"},
      {"echo rubbish >\"$file\"; exit 0", "cannot be read"},
      {"echo '{\"verdict\": 1}' >\"$file\"; exit 0", "cannot be read"},
      {"(result pass 0); exit 3", "ended with status 3, but its result says 0"},
      {"(result panic 96); exit 0", "ended with status 0, but its result says 96"},
      {"(result pass 0); kill -KILL $$", "killed by SIGKILL"},
  }));
  Fixture f;
  f.add("x", script);
  f.run();
  CHECK(f.results[0].status == Status::kError);
  CHECK(f.results[0].attempts.at(0).exit_code == 125);
  CHECK_THAT(f.results[0].attempts[0].reason, Contains(reason));
}

TEST_CASE("test runner: yesterday's result is not today's", "[matrix]") {
  Fixture f;
  f.add("x", "exit 0");
  std::filesystem::create_directories(f.folder("out/x"));
  f.folder.file("out/x/result.json", R"({"verdict": "pass", "reason": "", "exit": 0, "last_log": []})");
  f.run();
  CHECK(f.results[0].status == Status::kError);
}

TEST_CASE("test runner: a pass that took a second attempt is flaky, and both are kept", "[matrix]") {
  Fixture f;
  f.options.retries = 2;
  f.add("x", "case $folder in */retry-1) result pass 0;; esac; result panic 96");
  f.add("y", "result fail 1");
  f.run();
  CHECK(f.results[0].status == Status::kFlaky);
  REQUIRE(f.results[0].attempts.size() == 2);
  CHECK(f.results[0].attempts[0].verdict == "panic");
  CHECK(f.results[0].attempts[1].verdict == "pass");
  CHECK(f.results[1].status == Status::kFailed);
  CHECK(f.results[1].attempts.size() == 3);
  CHECK(f.retries == 3);
}

TEST_CASE("test runner: no more run at a time than the budget has room for", "[matrix]") {
  // Each fails when it sees another.
  const std::string alone =
      "mkdir \"$folder/../busy\" || result crowded 1; sleep 0.05; rmdir \"$folder/../busy\"; result pass 0";
  const auto [budget, cpus, memory] = GENERATE(table<TestBudget, unsigned, uint64_t>({
      {{.jobs = 1, .cpus = 9, .memory = 9}, 1u, 1u},
      {{.jobs = 9, .cpus = 3, .memory = 9}, 2u, 1u},
      {{.jobs = 9, .cpus = 9, .memory = 3}, 1u, 2u},
  }));
  Fixture f;
  f.options.budget = budget;
  for (const char* name : {"a", "b", "c"}) f.add(name, alone, cpus, memory);
  f.run();
  for (const MatrixResult& result : f.results) CHECK(result.status == Status::kPassed);
}

TEST_CASE("test runner: what has room runs at the same time", "[matrix]") {
  // Each waits for the other.
  const std::string meet =
      ">\"$folder/../$me\"; while ! [ -e \"$folder/../$other\" ]; do sleep 0.01; done; result pass 0";
  Fixture f;
  f.add("a", "me=1 other=2; " + meet, 2, 2);
  f.add("b", "me=2 other=1; " + meet, 2, 2);
  f.run();
  CHECK(f.results[0].status == Status::kPassed);
  CHECK(f.results[1].status == Status::kPassed);
}

TEST_CASE("test runner: one that does not keep its own time is killed", "[matrix]") {
  Fixture f;
  f.options.overtime = std::chrono::milliseconds(50);
  f.add("x", "exec sleep 60");
  f.runs[0].timeout = std::chrono::milliseconds(50);
  f.run();
  CHECK(f.results[0].status == Status::kError);
  CHECK_THAT(f.results[0].attempts.at(0).reason, Contains("did not keep its own --timeout"));
}

TEST_CASE("test runner: a signal ends all, and what had not ended was not run", "[matrix]") {
  Fixture f;
  f.options.budget.jobs = 2;
  f.options.grace = std::chrono::milliseconds(100);
  f.options.retries = 1;
  f.add("kind", "trap 'result terminated 143' TERM; kill -TERM $PPID; while :; do sleep 0.01; done");
  f.add("stubborn", "trap '' TERM; while :; do sleep 0.01; done");
  f.add("never", "result pass 0");
  f.run();
  CHECK(f.runner->signal() == SIGTERM);
  for (const MatrixResult& result : f.results) CHECK(result.status == Status::kNotRun);
  CHECK_FALSE(std::filesystem::exists(f.folder("out/never")));
}

TEST_CASE("test runner: a program or a folder that is not to be had is an error", "[matrix]") {
  Fixture f;
  f.options.program = f.folder("none");
  f.options.retries = 1;
  f.add("x", "result pass 0");
  f.add("y", "result pass 0");
  std::filesystem::create_directories(f.folder("out"));
  f.folder.file("out/y", "in the way");
  f.run();
  CHECK(f.results[0].status == Status::kError);
  CHECK(f.results[1].status == Status::kError);
  CHECK(f.results[1].attempts.size() == 2);
  CHECK_THAT(f.results[1].attempts[0].reason, Contains("cannot make"));
}

TEST_CASE("test runner: two cannot write to one folder", "[matrix]") {
  Fixture f;
  f.run();
  EventLoop loop;
  CHECK_THROWS_WITH(MatrixRunner(loop, f.runs, f.options, {}), Contains("another vmm test writes there"));
  f.options.output = "/proc/none";
  CHECK_THROWS_AS(MatrixRunner(loop, f.runs, f.options, {}), Error);
  f.options.output = f.folder("a,b");
  CHECK_THROWS_WITH(MatrixRunner(loop, f.runs, f.options, {}), Contains("comma"));
}
