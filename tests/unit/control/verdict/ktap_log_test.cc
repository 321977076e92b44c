// KTAP among what a kernel logs and a console shows.
#include "vmm/control/verdict/ktap_log.h"

#include <catch2/catch.hpp>
#include <sstream>
#include <string>

using namespace vmm;
using Catch::Matchers::Contains;
using Status = TapCase::Status;

namespace {

KtapLog log_of(const std::string& text) {
  KtapLog log;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) log.line(line);
  log.finish();
  return log;
}

// As KUnit prints it at boot.
const std::string kKunit =
    "[    0.100000] clocksource: Switched to clocksource tsc\n"
    "[    0.200000] KTAP version 1\n"
    "[    0.200001] 1..2\n"
    "[    0.200002]     KTAP version 1\n"
    "[    0.200003]     # Subtest: example\n"
    "[    0.200004]     1..3\n"
    "[    0.200005]     # example_simple_test: initializing\n"
    "[    0.200006]     ok 1 example_simple_test\n"
    "[    0.210000] random: crng init done\n"
    "[    0.210001]     ok 2 example_skip_test # SKIP this test should be skipped\n"
    "[    0.210002]     not ok 3 example_broken # TODO known\n"
    "[    0.210003] # example: pass:1 fail:0 skip:1 total:3\n"
    "[    0.210004] ok 1 example\n"
    "[    0.210005] ok 2 other\n";

}  // namespace

TEST_CASE("ktap log: KUnit's results are found among other messages, with their suites", "[ktap]") {
  const KtapLog log = log_of(kKunit);
  CHECK(log.verdict().empty());
  REQUIRE(log.cases().size() == 5);
  CHECK(log.cases()[0].name == "example/example_simple_test");
  CHECK(log.cases()[1].status == Status::kSkipped);
  CHECK(log.cases()[1].reason == "this test should be skipped");
  CHECK(log.cases()[2].status == Status::kTodo);
  CHECK(log.cases()[4].name == "other");
}

TEST_CASE("ktap log: a time stamp with its caller, or none, makes no difference", "[ktap]") {
  CHECK(log_of("[    1.0][    T1] KTAP version 1\n[    1.0][   C12] 1..1\n[    1.0][    T1] ok 1 a\n").cases().size() ==
        1);
  CHECK(log_of("TAP version 13\n1..1\nok 1 - a\n").cases()[0].name == "a");
}

TEST_CASE("ktap log: one failure fails it, in whatever document", "[ktap]") {
  const KtapLog log = log_of(kKunit + "KTAP version 1\n1..2\nok 1 a\nnot ok 2 b\n" + "TAP version 13\n1..1\nok 1 c\n");
  CHECK(log.verdict() == "1 of 8 failed, the first is b");
  CHECK(log.cases().size() == 8);
}

TEST_CASE("ktap log: prose outside of a document is no result", "[ktap]") {
  CHECK(log_of("not ok 1 nothing\n" + kKunit + "ok then\nok 3 rd\nnot ok 4 all\n1..9\n").verdict().empty());
  CHECK(log_of("[  OK  ] Started\nok 1 a\nnot ok 2 b\n").verdict() == "there is none in what the guest printed");
}

TEST_CASE("ktap log: a document that ends early, or bails out, is no success", "[ktap]") {
  CHECK_THAT(log_of("KTAP version 1\n1..3\nok 1 a\n").verdict(), Contains("planned 3 results, 1 came"));
  CHECK_THAT(log_of("KTAP version 1\n1..3\nok 1 a\n" + kKunit).verdict(), Contains("planned 3 results, 1 came"));
  CHECK_THAT(log_of("KTAP version 1\n1..2\nok 1 a\nBail out! no disk\n").verdict(), Contains("bailed out: no disk"));
  CHECK_THAT(log_of("KTAP version 1\nok 1 a\n").verdict(), Contains("no plan"));
}

TEST_CASE("ktap log: however much a guest prints, what is kept has a bound", "[ktap]") {
  KtapLog log;
  for (size_t i = 0; i < TapParser::kMaxCases + 10; ++i) {
    for (const char* line : {"KTAP version 1", "1..1", "not ok 1 a", "KTAP version 1", "1..2"}) log.line(line);
  }
  log.finish();
  CHECK(log.cases().size() == TapParser::kMaxCases);
  CHECK(log.problems().size() == TapParser::kMaxProblems);
  CHECK_THAT(log.verdict(), Contains("10010 of 10010 failed"));
}
