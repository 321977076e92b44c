// The document that CI systems read.
#include "vmm/control/verdict/junit.h"

#include <catch2/catch.hpp>

using namespace vmm;
using Catch::Matchers::Contains;

TEST_CASE("junit: failures, errors and what was skipped are counted, retries are not", "[junit]") {
  const std::string text =
      junit_document("suite", 1.5,
                     {{.classname = "c", .name = "good", .seconds = 0.25},
                      {.classname = "c",
                       .name = "bad",
                       .troubles = {{"failure", "panic", "why", ""}, {"rerunFailure", "panic", "", ""}}},
                      {.classname = "c", .name = "flaky", .troubles = {{"flakyFailure", "panic", "", ""}}},
                      {.classname = "c", .name = "host", .troubles = {{"error", "error", "no /dev/kvm", ""}}},
                      {.classname = "c", .name = "left out", .skipped = "no device"}});
  CHECK_THAT(text, Contains("tests=\"5\" failures=\"1\" errors=\"1\" skipped=\"1\" time=\"1.500\""));
  CHECK_THAT(text, Contains("<testcase classname=\"c\" name=\"good\" time=\"0.250\"/>"));
  CHECK_THAT(text, Contains("<failure type=\"panic\" message=\"why\"></failure>\n      <rerunFailure "));
  CHECK_THAT(text, Contains("<flakyFailure ") && Contains("<skipped message=\"no device\"/>"));
}

TEST_CASE("junit: hostile text stays text", "[junit]") {
  const std::string text = junit_document("<&\">", 0, {{.classname = "\x1b]0;\xff", .name = "a\nb"}});
  CHECK_THAT(text, Contains("name=\"&lt;&amp;&quot;&gt;\"") && Contains("classname=\"?]0;?\" name=\"a&#10;b\""));
}
