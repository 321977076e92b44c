// Traces that somebody sends: refused, or shown in whatever form; and what is written is read again alike. Consoles of
// guests: no line breaks the row of phases.
#include "vmm/control/trace/run_trace.h"

#include "tests/fuzz/fuzz_input.h"
#include "vmm/control/trace/boot_phases.h"
#include "vmm/control/trace/boot_report.h"
#include "vmm/control/trace/boot_report_html.h"
#include "vmm/core/error.h"

void vmm::test::fuzz(FuzzInput& input) {
  const std::string text = input.take_rest();
  BootLog log;
  log.console_line(text, 5);
  std::vector<std::string> notes;
  const auto phases = boot_phases({.first_entry = 1, .kernel_exit = 2, .stop = 6, .end = 7}, log, notes);
  require(phases.back().start + phases.back().seconds < 7.001);
  try {
    const RunTrace trace = parse_trace("fuzz", text);
    const std::string written = to_json(trace);
    require(to_json(parse_trace("fuzz", written)) == written);
    require(report_html(trace).find("<script") == std::string::npos);
    report_text(trace);
    compare_text(trace, "a", trace, "b");
    to_perfetto(trace);
  } catch (const Error&) {
  }
}
