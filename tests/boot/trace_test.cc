// --trace with a real kernel: the phases of its boot, and whose functions its exits came out of.
#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

nlohmann::json json_at(const std::string& path) { return nlohmann::json::parse(std::ifstream(path)); }

// By name; they follow one another and add up.
std::map<std::string, double> phases_of(const nlohmann::json& trace) {
  std::map<std::string, double> phases;
  double at = 0;
  for (const auto& phase : trace["phases"]) {
    CHECK(phase["start"].get<double>() == Approx(at));
    phases[phase["name"]] = phase["seconds"];
    at += phase["seconds"].get<double>();
  }
  CHECK(at == Approx(trace["seconds"].get<double>()));
  return phases;
}

bool has_symbol(const nlohmann::json& trace, const std::string& symbol) {
  return std::ranges::any_of(trace["rows"], [&](const auto& row) { return row["symbol"] == symbol; });
}

}  // namespace

TEST_CASE("trace: a boot is told in phases, and its exits by the kernel's functions", "[boot][trace]") {
  const TempDirectory folder;
  TestVm vm(small_kernel() + tiny_initramfs("true") +
            Words{"--trace", folder("trace.json"), "--result", folder("result.json")});
  CHECK(vm.wait_exit() == 0);
  const auto trace = json_at(folder("trace.json"));
  const auto result = json_at(folder("result.json"));
  auto phases = phases_of(trace);
  for (const char* name : {"load", "decompress", "start_kernel", "initcalls", "init"}) CHECK(phases[name] > 0);
  // The result counts from power-on to the end, the trace from the start of the process to the last look at memory.
  CHECK(trace["seconds"].get<double>() >= result["t"].get<double>());
  CHECK(trace["seconds"].get<double>() < result["t"].get<double>() + 2);
  CHECK(trace["exits"] == result["exits"]["vmm"]);
  CHECK(has_symbol(trace, "io_serial_out"));
  // Where the host's kernel is older than 5.14 there is nothing.
  const auto exits = std::ranges::find(trace["kvm"], "exits", [](const auto& count) { return count["name"]; });
  if (exits != trace["kvm"].end()) CHECK((*exits)["count"] > trace["exits"]);
  TestVm report({"boot-report", folder("trace.json")});
  CHECK(report.wait_exit() == 0);
  CHECK_THAT(report.output(), Contains("Linux 6.1") && Contains("initcalls") && Contains("io_serial_out"));
}

TEST_CASE("trace: a command is a phase", "[boot][trace]") {
  const TempDirectory folder;
  TestVm vm(Words{"--kernel", image("KERNEL", "bzImage"), "--trace", folder("trace.json"), "--", "true"});
  CHECK(vm.wait_exit() == 0);
  CHECK(vm.output().empty());
  auto phases = phases_of(json_at(folder("trace.json")));
  for (const char* name : {"initcalls", "init", "command"}) CHECK(phases[name] > 0);
}
