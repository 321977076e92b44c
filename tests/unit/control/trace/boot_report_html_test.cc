// The page: it has the trace's figures, and no name of a guest gets out of its place.
#include "vmm/control/trace/boot_report_html.h"

#include <catch2/catch.hpp>
#include <string>

#include "tests/support/sample_trace.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

TEST_CASE("boot report page: it has the figures of the trace", "[trace]") {
  const std::string page = report_html(sample_trace());
  CHECK_THAT(page, Contains("<body data-seconds=\"2\" data-exits=\"1110\" data-ns=\"3510000\">"));
  CHECK_THAT(page, Contains("data-name=\"decompress\" data-seconds=\"0.4\""));
  CHECK_THAT(page, Contains("data-section=\"by device\" data-name=\"serial ttyS0\" data-count=\"1100\" "
                            "data-ns=\"3500000\""));
  CHECK_THAT(page, Contains("data-section=\"by function\" data-name=\"io_serial_in\" data-count=\"100\""));
  CHECK_THAT(page, Contains("initcalls: not told") && Contains("the first 1107 were not kept"));
}

TEST_CASE("boot report page: it needs nothing from elsewhere", "[trace]") {
  const std::string page = report_html(sample_trace());
  CHECK_THAT(page, !Contains("<script") && !Contains("http") && !Contains("src=") && !Contains("url("));
}

TEST_CASE("boot report page: names are text, whatever is in them", "[trace]") {
  CHECK(html_text("<a href='x\"&'>") == "&lt;a href=&#39;x&quot;&amp;&#39;&gt;");
  RunTrace trace = sample_trace();
  const std::string evil = "\"><script>alert(1)</script>";
  trace.kernel = trace.release = evil;
  trace.notes = {evil};
  for (auto& phase : trace.phases) phase.name = phase.until = evil;
  for (auto& row : trace.rows) row.reason = row.device = row.symbol = evil;
  const std::string page = report_html(trace);
  CHECK_THAT(page, !Contains("<script") && !Contains(evil));
  CHECK_THAT(page, Contains("&lt;script&gt;"));
}

TEST_CASE("boot report page: an empty trace, and events beyond its end, are drawn as well", "[trace]") {
  CHECK_THAT(report_html(RunTrace()), Contains("</html>"));
  RunTrace trace = sample_trace();
  trace.seconds = 0;
  trace.events.push_back({uint64_t{1} << 62, 1, 0, 0});
  CHECK_THAT(report_html(trace), !Contains("nan") && !Contains("inf"));
}
