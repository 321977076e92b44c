// A trace as a file: there and back, and what is none.
#include "vmm/control/trace/run_trace.h"

#include <fmt/core.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/sample_trace.h"
#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

std::string refusal(const std::string& text) {
  try {
    parse_trace("F", text);
  } catch (const Error& error) {
    CHECK_THAT(error.fix(), Contains("--trace"));
    return error.what();
  }
  return {};
}

// The sample's JSON with one value replaced.
std::string with(const std::string& pointer, const nlohmann::json& value) {
  nlohmann::json json = nlohmann::json::parse(to_json(sample_trace()));
  json[nlohmann::json::json_pointer(pointer)] = value;
  return json.dump();
}

}  // namespace

TEST_CASE("run trace: what is written is read again", "[trace]") {
  const std::string text = to_json(sample_trace());
  const RunTrace trace = parse_trace("F", text);
  CHECK(to_json(trace) == text);
  CHECK(trace.exits() == 1110);
  CHECK(trace.nanoseconds() == 3'510'000);
  CHECK(trace.events.size() == 3);
  const nlohmann::json json = nlohmann::json::parse(text);
  CHECK(json["exits"] == 1110);
  CHECK(json["ns"] == 3'510'000);
  CHECK(json["events"][1] == nlohmann::json({2000, 300, 1, 1}));
}

TEST_CASE("run trace: a trace without events is whole as well", "[trace]") {
  CHECK(parse_trace("F", to_json(RunTrace())).events.empty());
}

TEST_CASE("run trace: rows are summed by a text, the most time first", "[trace]") {
  const auto devices = sum_by(sample_trace(), &RunTrace::Row::device);
  REQUIRE(devices.size() == 2);
  CHECK(devices[0].name == "serial ttyS0");
  CHECK(devices[0].count == 1100);
  CHECK(devices[0].nanoseconds == 3'500'000);
}

TEST_CASE("run trace: what is no trace is refused in words", "[trace]") {
  CHECK_THAT(refusal(""), Contains("'F' is no trace of vmm"));
  CHECK_THAT(refusal("[]"), Contains("another file"));
  CHECK_THAT(refusal("{}"), Contains("another file"));
  CHECK_THAT(refusal("{\"format\":\"vmm-trace\"}"), Contains("no trace"));
  CHECK_THAT(refusal(with("/version", 2)), Contains("version is 2"));
  CHECK_THAT(refusal(with("/version", "\x1b[2J")), !Contains("\x1b"));
  CHECK_THAT(refusal(with("/seconds", -1)), Contains("seconds"));
  CHECK_THAT(refusal(with("/seconds", 1e300)), Contains("seconds"));
  CHECK_THAT(refusal(with("/rows/0/count", -1)), Contains("count"));
  CHECK_THAT(refusal(with("/rows/0/count", UINT64_MAX)), Contains("count"));
  CHECK_THAT(refusal(with("/rows/0/ns", 1.5)), Contains("ns"));
  CHECK_THAT(refusal(with("/rows/0/symbol", 5)), Contains("no trace"));
  CHECK_THAT(refusal(with("/rows", 5)), Contains("no trace"));
  CHECK_THAT(refusal(with("/events/0", {1, 2, 3})), Contains("event"));
  CHECK_THAT(refusal(with("/events/0/3", 77)), Contains("row of an event"));
  CHECK_THAT(refusal(with("/events/0/2", 1 << 30)), Contains("vCPU of an event"));
  CHECK_THROWS_AS(read_trace("/nowhere/at/all"), Error);
}

TEST_CASE("run trace: names from a file are made fit for a terminal", "[trace]") {
  const RunTrace trace = parse_trace("F", with("/rows/0/symbol", "\x1b[2Jboo"));
  CHECK(trace.rows[0].symbol == "\\x1b[2Jboo");
}

TEST_CASE("run trace: for Perfetto phases and vCPUs are tracks, in microseconds", "[trace]") {
  RunTrace trace = sample_trace();
  trace.rows[1].symbol = "\"},{\"";
  const nlohmann::json json = nlohmann::json::parse(to_perfetto(trace));
  const auto& events = json["traceEvents"];
  const auto find = [&](const std::string& name) {
    return *std::find_if(events.begin(), events.end(), [&](const auto& event) { return event["name"] == name; });
  };
  CHECK(find("load")["tid"] == 0);
  CHECK(find("load")["dur"] == Approx(100'000));
  CHECK(find("PCI")["ts"] == Approx(2));
  CHECK(find("PCI")["dur"] == Approx(0.3));
  CHECK(find("PCI")["tid"] == 2);
  CHECK(find("PCI")["args"]["symbol"] == "\"},{\"");
  CHECK_NOTHROW(nlohmann::json::parse(to_perfetto(RunTrace())));
}

TEST_CASE("run trace: a file that grows beyond its limits is refused with the limit's name", "[trace]") {
  // `much` behind the rest of a trace; each would take gigabytes, or a deep stack, if it were taken whole.
  const auto grown = [](std::string_view key, std::string_view before, std::string_view much, size_t times,
                        std::string_view after) {
    std::string text = to_json(sample_trace());
    text.resize(text.rfind('}'));
    text += fmt::format(",\"{}\":{}", key, before);
    for (size_t i = 0; i < times; ++i) text += much;
    return text.append(after) + "}";
  };
  CHECK_THAT(refusal(std::string(20'000'000, '[')), Contains("nested deeper than 8"));
  CHECK_THAT(refusal(grown("version", "", "[", 100'000, "")), Contains("nested deeper than 8"));
  CHECK_THAT(refusal(grown("notes", "[", "[],", 250'000, "1]")), Contains("200000 values besides events"));
  CHECK_THAT(refusal(grown("rows", "{", "\"k\":1,", 250'000, "\"k\":1}")), Contains("200000 values"));
  CHECK_THAT(refusal(grown("notes", "[", "\"" + std::string(1000, 'x') + "\",", 10'000, "\"\"]")),
             Contains("more than 8 MiB of text"));
  CHECK_THAT(refusal(grown("events", "[", "[1,2,0,0],", 530'000, "[1,2,0,0]]")), Contains("524288 events"));
  CHECK_THAT(refusal(grown("version", "\"", "x", 1'000'000, "\"")), Contains("its version is") && Contains("..."));
}

TEST_CASE("run trace: one too large for Perfetto is refused", "[trace]") {
  RunTrace trace = sample_trace();
  trace.rows[0].symbol = std::string(100'000, 'x');
  trace.events.assign(2000, trace.events[0]);
  CHECK_THROWS_WITH(to_perfetto(trace), Contains("96 MiB"));
}
