// Writing JUnit's XML; see junit.h. There is no standard: this is what Jenkins, GitLab and Maven's Surefire agree upon,
// with Surefire's elements for what was tried more than once.
#include "vmm/control/verdict/junit.h"

#include <fmt/core.h>

#include <algorithm>

namespace vmm {

namespace {

// Printable ASCII, tabs and newlines stay, the five special characters are written as entities; XML 1.0 knows no way to
// write the rest.
std::string xml_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\n':
        out += "&#10;";
        break;
      default:
        out += (c >= ' ' && c <= '~') || c == '\t' ? c : '?';
    }
  }
  return out;
}

size_t count(const std::vector<JunitCase>& cases, std::string_view element) {
  return static_cast<size_t>(std::ranges::count_if(cases, [&](const JunitCase& test) {
    return std::ranges::find(test.troubles, element, &JunitCase::Trouble::element) != test.troubles.end();
  }));
}

}  // namespace

std::string junit_document(std::string_view suite, double seconds, const std::vector<JunitCase>& cases) {
  const size_t failures = count(cases, "failure");
  const size_t errors = count(cases, "error");
  const auto skipped = std::ranges::count_if(cases, [](const JunitCase& test) { return test.skipped.has_value(); });
  std::string text = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<testsuites tests=\"{0}\" failures=\"{1}\" errors=\"{2}\" time=\"{4:.3f}\">\n"
      "  <testsuite name=\"{5}\" tests=\"{0}\" failures=\"{1}\" errors=\"{2}\" skipped=\"{3}\" time=\"{4:.3f}\">\n",
      cases.size(), failures, errors, skipped, seconds, xml_text(suite));
  for (const JunitCase& test : cases) {
    text += fmt::format("    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3f}\"", xml_text(test.classname),
                        xml_text(test.name), test.seconds);
    if (test.troubles.empty() && !test.skipped) {
      text += "/>\n";
      continue;
    }
    text += ">\n";
    if (test.skipped) text += fmt::format("      <skipped message=\"{}\"/>\n", xml_text(*test.skipped));
    for (const JunitCase::Trouble& trouble : test.troubles) {
      text += fmt::format("      <{0} type=\"{1}\" message=\"{2}\">{3}</{0}>\n", trouble.element,
                          xml_text(trouble.type), xml_text(trouble.message), xml_text(trouble.details));
    }
    text += "    </testcase>\n";
  }
  return text + "  </testsuite>\n</testsuites>\n";
}

}  // namespace vmm
