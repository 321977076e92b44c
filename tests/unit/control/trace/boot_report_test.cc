// The report as people read it, from a fixed trace.
#include "vmm/control/trace/boot_report.h"

#include <catch2/catch.hpp>
#include <ctime>
#include <fstream>
#include <string>

#include "tests/support/sample_trace.h"
#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

std::string content_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator(file), {}};
}

}  // namespace

TEST_CASE("boot report: a trace as text", "[trace]") {
  CHECK(report_text(sample_trace()) ==
        "bzImage (Linux 6.1.0): 2.000 s, 2 vCPUs, 1110 exits to vmm, which took 3.510 ms to answer\n"
        "\n"
        "Phases                                            s           %\n"
        "  load                                       0.1000         5.0            ##\n"
        "    until the first KVM_RUN\n"
        "  decompress                                 0.4000        20.0            ######\n"
        "    until the first exit out of kernel code\n"
        "  init                                       1.4000        70.0            #####################\n"
        "    until the guest's end\n"
        "  stop                                       0.1000         5.0            ##\n"
        "    until the end\n"
        "  initcalls: not told\n"
        "\n"
        "Exits by reason                               exits          ms   ns each\n"
        "  port write                                   1000       3.000      3000  ##########################\n"
        "  port read                                     100       0.500      5000  ####\n"
        "  memory read                                    10       0.010      1000  #\n"
        "\n"
        "Exits by device                               exits          ms   ns each\n"
        "  serial ttyS0                                 1100       3.500      3181  ##############################\n"
        "  PCI                                            10       0.010      1000  #\n"
        "\n"
        "Exits by the guest's function                 exits          ms   ns each\n"
        "  io_serial_out                                1000       3.000      3000  ##########################\n"
        "  io_serial_in                                  100       0.500      5000  ####\n"
        "  pci_mmcfg_read                                 10       0.010      1000  #\n"
        "\n"
        "What KVM counted, also what it answered       times\n"
        "  exits                                      123456\n"
        "  irq_exits                                      42\n"
        "\n"
        "Times are those of exits to vmm, without what leaving and entering the guest takes.\n");
}

TEST_CASE("boot report: where the host does not count what KVM answers that is said", "[trace]") {
  RunTrace trace = sample_trace();
  trace.kvm.clear();
  CHECK_THAT(report_text(trace), Contains("this host does not count") && !Contains("What KVM counted"));
  CHECK_THAT(compare_text(sample_trace(), "a", trace, "b"), !Contains("What KVM counted"));
  CHECK_THAT(compare_text(sample_trace(), "a", sample_trace(), "b"),
             Contains("What KVM counted") && Contains("irq_exits") && !Contains("nmi_injections"));
}

TEST_CASE("boot report: of many rows the largest are shown and the rest is summed", "[trace]") {
  RunTrace trace = sample_trace();
  for (uint64_t i = 0; i < 20; ++i) {
    trace.rows.push_back({"port read", "PCI", std::string(60, 'x') + std::to_string(i), 2, i});
  }
  CHECK_THAT(report_text(trace), Contains("  11 more "));
  CHECK_THAT(report_text(trace), Contains("xxx..."));
}

TEST_CASE("boot report: an empty trace is reported as well", "[trace]") {
  CHECK_THAT(report_text(RunTrace()), Contains("0 exits"));
}

TEST_CASE("boot report: two traces beside each other, with ratios", "[trace]") {
  RunTrace other = sample_trace();
  other.phases[1].seconds = 0.2;
  other.phases[2].name = "command";
  other.rows[0].count = 500;
  const std::string text = compare_text(sample_trace(), "a.json", other, "b.json");
  CHECK_THAT(text, Contains("A a.json: bzImage") && Contains("B b.json: bzImage"));
  CHECK_THAT(text, Contains("  decompress                                     0.4000         0.2000     0.50x\n"));
  CHECK_THAT(text, Contains("  init                                           1.4000              -         -\n"));
  CHECK_THAT(text, Contains("  command                                             -         1.4000         -\n"));
  CHECK_THAT(text, Contains("  port write                                       1000            500     0.50x\n"));
}

TEST_CASE("boot report: its words", "[trace]") {
  const TempDirectory directory;
  const std::string file = directory.file("trace.json", to_json(sample_trace()));
  CHECK(boot_report({file}) == report_text(sample_trace()));
  CHECK_THAT(boot_report({"--compare", file, file}), Contains("1.00x"));
  boot_report({file, "--perfetto", directory("perfetto.json")});
  CHECK(content_of(directory("perfetto.json")) == to_perfetto(sample_trace()));
  CHECK_THROWS_AS(boot_report({}), Error);
  CHECK_THROWS_AS(boot_report({"a", "b"}), Error);
  CHECK_THROWS_AS(boot_report({"--compare", "a"}), Error);
  CHECK_THROWS_AS(boot_report({"a", "--html"}), Error);
  CHECK_THROWS_AS(boot_report({"--compare", "a", "b", "--html", "c"}), Error);
  CHECK_THROWS_AS(boot_report({"--wide", "a"}), Error);
}

TEST_CASE("boot report: many phases are compared in the time that it takes to read them", "[trace]") {
  RunTrace trace;
  for (int i = 0; i < 200'000; ++i) trace.phases.push_back({"phase " + std::to_string(i), 0, 1, "then"});
  const std::clock_t before = std::clock();
  const std::string text = compare_text(trace, "a", trace, "b");
  // By a search through all names for each it would be minutes.
  CHECK(std::clock() - before < 5 * CLOCKS_PER_SEC);
  CHECK_THAT(text, Contains("phase 199999 "));
}
