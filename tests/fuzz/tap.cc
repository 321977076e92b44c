// What a guest prints where TAP is expected, in pieces of any size.
#include "vmm/control/verdict/tap.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "tests/fuzz/fuzz_input.h"
#include "vmm/control/verdict/ktap_log.h"

using namespace vmm;
using namespace vmm::test;

void vmm::test::fuzz(FuzzInput& input) {
  TapParser parser;
  KtapLog log;
  while (input.next_step()) {
    // Whole words of the language, or bytes.
    constexpr std::array<std::string_view, 10> kWords = {"ok ", "not ok ", "1..", "\n",        "  ",
                                                         "1",   "# TODO ", "---", "Bail out!", "KTAP version 1\n"};
    if (input.take_bool()) {
      const std::string_view word = kWords[input.take_below(kWords.size())];
      parser.feed(word);
      log.line(word);
    } else {
      const auto bytes = input.take_bytes(input.take_below(2000));
      const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      parser.feed(text);
      log.line(text.substr(0, text.find('\n')));
    }
  }
  parser.finish();
  log.finish();
  require(log.cases().size() <= TapParser::kMaxCases && log.problems().size() <= TapParser::kMaxProblems);
  require(parser.cases().size() <= TapParser::kMaxCases);
  require(parser.problems().size() <= TapParser::kMaxProblems);
  const bool failed = std::ranges::any_of(
      parser.cases(), [](const TapCase& result) { return result.status == TapCase::Status::kFailed; });
  require(!failed || parser.failed() > 0);
  require(parser.good() == parser.verdict().empty());
  for (const TapCase& result : parser.cases()) {
    require(result.name.size() <= TapParser::kMaxName);
    tap_line(0, 1, result);
  }
}
