// --trace with a payload kernel, whose exits are known by number.
#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/descriptors.h"
#include "tests/support/payload.h"
#include "tests/support/temp_file.h"
#include "tests/support/test_vm.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

uint64_t count_of(const nlohmann::json& trace, const std::string& reason, const std::string& device) {
  uint64_t count = 0;
  for (const auto& row : trace["rows"]) {
    if (row["reason"] == reason && row["device"] == device) count += row["count"].get<uint64_t>();
  }
  return count;
}

size_t lines_with(const std::string& text, const std::string& beginning, const std::string& end = {}) {
  std::istringstream stream(text);
  size_t count = 0;
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with(beginning) && line.ends_with(end)) ++count;
  }
  return count;
}

}  // namespace

TEST_CASE("payload: a trace counts what the guest did", "[payload][trace]") {
  const TempDirectory folder;
  TestVm vm(
      payload("case=flood kilobytes=1 status=3", {"--trace", folder("trace.json"), "--result", folder("result.json")}));
  CHECK(vm.wait_exit() == debug_status(3));
  const auto trace = nlohmann::json::parse(std::ifstream(folder("trace.json")));
  const auto result = nlohmann::json::parse(std::ifstream(folder("result.json")));
  // The line is asked before every byte whether it is ready.
  CHECK(count_of(trace, "port write", "serial ttyS0") == vm.output().size());
  CHECK(count_of(trace, "port read", "serial ttyS0") >= vm.output().size());
  CHECK(count_of(trace, "port write", "debug exit") == 1);
  CHECK(trace["exits"] == result["exits"]["vmm"]);
  CHECK(trace["events"].size() == trace["exits"]);
  double sum = 0;
  for (const auto& phase : trace["phases"]) sum += phase["seconds"].get<double>();
  CHECK(sum == Approx(trace["seconds"].get<double>()));

  TestVm report({"boot-report", folder("trace.json"), "--html", folder("page.html")});
  CHECK(report.wait_exit() == 0);
  CHECK_THAT(report.output(), Contains("Phases") && Contains("serial ttyS0") && Contains("load"));
}

TEST_CASE("payload: with --trace pio,mmio,kvm each access and exit is a line", "[payload][trace]") {
  const TempDirectory folder;
  TestVm vm(payload("case=flood kilobytes=1 status=3", {"--trace", "kvm,mmio,pio", "--log", folder("log")}));
  CHECK(vm.wait_exit() == debug_status(3));
  const std::string log = contents(folder("log"));
  CHECK(lines_with(log, "vmm: pio: vCPU 0: out 0x3f8 0x", ": serial ttyS0") == vm.output().size());
  CHECK(lines_with(log, "vmm: kvm: vCPU 0: port write at 0x") == lines_with(log, "vmm: pio: vCPU 0: out "));
  CHECK_THAT(log, Contains("vmm: pio: vCPU 0: out 0xf4 0x00000003: debug exit\n"));
  CHECK_THAT(log, !Contains("vmm: virtio: "));
}

TEST_CASE("payload: with --pc-testdev, and only then, there is QEMU's device of that name", "[payload][trace]") {
  constexpr unsigned kRounds = 300;
  const std::string words = "case=use-testdev rounds=300 status=3";
  const TempDirectory folder;
  TestVm vm(payload(words, {"--pc-testdev", "--trace", folder("trace.json")}));
  CHECK(vm.wait_exit() == debug_status(3));
  const auto trace = nlohmann::json::parse(std::ifstream(folder("trace.json")));
  CHECK(count_of(trace, "port write", "pc-testdev") == kRounds + 6);
  CHECK(count_of(trace, "memory write", "pc-testdev") == 2);  // of one value, from one page to the next
  // Each round had KVM look the page up, which it counts where the host has Linux 5.14 or later.
  const auto faults = std::ranges::find(trace["kvm"], "pf_fixed", [](const auto& count) { return count["name"]; });
  if (faults != trace["kvm"].end()) CHECK((*faults)["count"] >= kRounds);

  TestVm without(payload(words));
  CHECK(without.wait_exit() == debug_status(1));
  CHECK_THAT(without.output(), Contains("its ports keep what is written"));
}

TEST_CASE("payload: what is no trace is refused", "[payload][trace]") {
  const TempDirectory folder;
  TestVm report({"boot-report", folder.file("x", "{}")});
  CHECK(report.wait_exit() == 125);
  CHECK_THAT(report.messages(), Contains("is no trace of vmm") && Contains("fix: "));
}
