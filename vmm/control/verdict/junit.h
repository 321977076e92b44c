// JUnit's XML, as CI systems read it: a document of one test suite.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmm {

struct JunitCase {
  // What became of it, or of one more attempt at it.
  struct Trouble {
    std::string element;  // "failure", "error", "flakyFailure", "rerunFailure", ...
    std::string type;
    std::string message;
    std::string details;
  };

  std::string classname;
  std::string name;
  double seconds = 0;
  std::optional<std::string> skipped;  // why
  std::vector<Trouble> troubles;       // none: it passed
};

std::string junit_document(std::string_view suite, double seconds, const std::vector<JunitCase>& cases);

}  // namespace vmm
