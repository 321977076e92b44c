// TAP and KTAP as test programs print them, and as they must not.
#include "vmm/control/verdict/tap.h"

#include <catch2/catch.hpp>
#include <string>

using namespace vmm;
using Catch::Matchers::Contains;
using Status = TapCase::Status;

namespace {

TapParser parse(std::string_view text) {
  TapParser parser;
  parser.feed(text);
  parser.finish();
  return parser;
}

}  // namespace

TEST_CASE("tap: results, with what is skipped and what is expected to fail", "[tap]") {
  const TapParser tap = parse(
      "TAP version 14\n1..5\nok 1 - first\nnot ok 2 - second # TODO later\nok 3 third # SKIP no such device\n"
      "# a comment\nnoise that is okay\nok\nok 5 - a \\# b\n");
  REQUIRE(tap.cases().size() == 5);
  CHECK(tap.good());
  CHECK(tap.verdict().empty());
  CHECK(tap.cases()[0].name == "first");
  CHECK(tap.cases()[1].status == Status::kTodo);
  CHECK(tap.cases()[1].reason == "later");
  CHECK(tap.cases()[2].status == Status::kSkipped);
  CHECK(tap.cases()[2].reason == "no such device");
  CHECK(tap.cases()[3].name == "test 4");
  CHECK(tap.cases()[4].name == "a # b");
}

TEST_CASE("tap: a failure is counted and named", "[tap]") {
  const TapParser tap = parse("1..3\nok 1 - a\nnot ok 2 - b\nnot ok 3 - c\n");
  CHECK_FALSE(tap.good());
  CHECK(tap.failed() == 2);
  CHECK(tap.verdict() == "2 of 3 failed, the first is b");
}

TEST_CASE("tap: the kernel's nested form, with the names of all levels", "[tap]") {
  const TapParser tap = parse(
      "KTAP version 1\r\n1..1\r\n  KTAP version 1\r\n  # Subtest: suite\r\n  1..2\r\n    KTAP version 1\r\n    1..1\r\n"
      "    ok 1 inner\r\n  ok 1 middle\r\n  not ok 2 other # XFAIL known\r\nok 1 outer\r\n");
  REQUIRE(tap.cases().size() == 4);
  CHECK(tap.good());
  CHECK(tap.cases()[0].name == "outer/middle/inner");
  CHECK(tap.cases()[1].name == "outer/middle");
  CHECK(tap.cases()[2].name == "outer/other");
  CHECK(tap.cases()[3].name == "outer");
}

TEST_CASE("tap: a failure within a success counts, unless the whole is expected to fail", "[tap]") {
  CHECK(parse("1..1\n    1..1\n    not ok 1 - in\nok 1 - out\n").failed() == 1);
  CHECK(parse("1..1\n    1..1\n    not ok 1 - in\nnot ok 1 - out # TODO\n").good());
}

TEST_CASE("tap: what is wrong with a stream", "[tap]") {
  const auto [text, problem] = GENERATE(table<std::string, std::string>({
      {"1..3\nok 1\nok 2\n", "planned 3 results, 2 came"},
      {"1..1\nok 1\nok 2\n", "planned 1 result, 2 came"},
      {"1..1\n  1..2\n  ok 1 a\nok 1 b\n", "planned 2 results, 1 came"},
      {"ok 1\n", "no plan"},
      {"    1..1\n    ok 1 - in\nok 1 - out\n", "no plan"},
      {"1..2\nok 2\nok 3\n", "a result has the number 3"},
      {"hello\n", "no TAP"},
      {"", "no TAP"},
      {"1..2\nok 1\nok 1\n", "two results with the number 1"},
      {"1..1\n1..1\nok 1\n", "two plans"},
      {"1..9\nok 1\nBail out! no disk\nok 2\n", "bailed out: no disk"},
  }));
  const TapParser tap = parse(text);
  CHECK_FALSE(tap.good());
  CHECK_THAT(tap.verdict(), Contains(problem));
}

TEST_CASE("tap: a plan may come last, and one of nothing is fulfilled", "[tap]") {
  CHECK(parse("ok 1\nok 2\n1..2\n").good());
  CHECK(parse("    ok 1 - in\n    1..1\nok 1 - out\n1..1\n").good());
  CHECK(parse("TAP version 13\n1..0 # SKIP not here\n").good());
}

TEST_CASE("tap: YAML after a result is no result, dashes elsewhere mean nothing", "[tap]") {
  CHECK(parse("1..1\nok 1\n  ---\n  not ok 7\n  1..9\n  ...\n").good());
  CHECK(parse("1..1\n---\nok 1\n").good());
  CHECK(parse("1..2\nok 1\n  ---\n  never: closed\nok 2\n").good());
}

TEST_CASE("tap: pieces of any size make the same lines", "[tap]") {
  const std::string text = "1..2\nok 1 - a\nnot ok 2 - b # TODO\n";
  TapParser parser;
  for (const char c : text) parser.feed({&c, 1});
  parser.finish();
  CHECK(parser.good());
  CHECK(parser.cases().size() == 2);
}

TEST_CASE("tap: lines, cases and levels are bounded", "[tap]") {
  TapParser parser;
  parser.feed("1..30000\n");
  for (int i = 1; i <= 30000; ++i) parser.feed("not ok " + std::to_string(i) + " - " + std::string(2000, 'x') + "\n");
  parser.finish();
  CHECK(parser.cases().size() == TapParser::kMaxCases);
  CHECK(parser.cases().front().name.size() == TapParser::kMaxName);
  CHECK(parser.failed() == 30000);
  std::string deep;
  for (size_t i = 0; i < 100; ++i) deep += std::string(i, ' ') + "1..1\n";
  CHECK_THAT(parse(deep).verdict(), Contains("nested too deeply"));
  CHECK(parse(deep).problems().size() <= TapParser::kMaxProblems);
}

TEST_CASE("tap: what is written is read back", "[tap]") {
  const TapCase written{.name = "a # b\n\\c", .status = Status::kTodo, .reason = "later"};
  const TapParser tap = parse("TAP version 14\n1..1\n" + tap_line(0, 1, written) + tap_comment("two\nlines"));
  REQUIRE(tap.cases().size() == 1);
  CHECK(tap.good());
  CHECK(tap.cases()[0].name == "a # b \\c");
  CHECK(tap.cases()[0].status == Status::kTodo);
  CHECK(tap.cases()[0].reason == "later");
  CHECK(tap_line(4, 2, {.name = "x", .status = Status::kSkipped}) == "    ok 2 - x # SKIP\n");
  CHECK(tap_comment("two\nlines") == "# two\n# lines\n");
}
