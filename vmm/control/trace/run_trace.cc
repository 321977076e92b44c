// The file of a trace, written and read; see run_trace.h.
#include "vmm/control/trace/run_trace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "vmm/blackbox/printable.h"
#include "vmm/core/error.h"
#include "vmm/core/fd.h"

namespace vmm {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFormat = "vmm-trace";
constexpr int kVersion = 1;
constexpr size_t kMostBytes = size_t{256} << 20;
constexpr uint64_t kMostNanoseconds = uint64_t{1} << 62;

// Readers below throw nlohmann's exceptions or this, and parse_trace() makes an Error of both.
struct Misfit {
  std::string what;
};

std::string text_at(const Json& json, const char* name) { return printable(json.at(name).get<std::string>()); }

double seconds_at(const Json& json, const char* name) {
  constexpr double kMost = 1e9;
  const double value = json.at(name).get<double>();
  if (!(value >= 0) || value > kMost) throw Misfit{fmt::format("'{}' is no number of seconds", name)};
  return value;
}

uint64_t number(const Json& json, std::string_view what) {
  if (!json.is_number_unsigned() || json.get<uint64_t>() > kMostNanoseconds) {
    throw Misfit{fmt::format("'{}' is no number of a trace", what)};
  }
  return json.get<uint64_t>();
}

uint64_t number_at(const Json& json, const char* name) { return number(json.at(name), name); }

uint32_t small_number(const Json& json, std::string_view what, size_t below) {
  const uint64_t value = number(json, what);
  if (value >= below) throw Misfit{fmt::format("'{}' is {}, and must be below {}", what, value, below)};
  return static_cast<uint32_t>(value);
}

RunTrace from_json(const Json& json) {
  constexpr size_t kMostCpus = 4096;
  if (!json.is_object() || !json.contains("format") || json["format"] != kFormat) throw Misfit{"it is another file"};
  if (json.at("version") != kVersion) {
    throw Misfit{fmt::format("its version is {}, and this vmm knows {}", printable(json["version"].dump()), kVersion)};
  }
  RunTrace trace;
  trace.kernel = text_at(json, "kernel");
  trace.release = text_at(json, "release");
  trace.seconds = seconds_at(json, "seconds");
  for (const Json& phase : json.at("phases")) {
    trace.phases.push_back({.name = text_at(phase, "name"),
                            .start = seconds_at(phase, "start"),
                            .seconds = seconds_at(phase, "seconds"),
                            .until = text_at(phase, "until")});
  }
  for (const Json& note : json.at("notes")) trace.notes.push_back(printable(note.get<std::string>()));
  for (const Json& cpu : json.at("vcpus")) {
    trace.cpus.push_back({.id = small_number(cpu.at("id"), "id", kMostCpus),
                          .exits = number_at(cpu, "exits"),
                          .nanoseconds = number_at(cpu, "ns")});
  }
  // Traces of earlier versions have none.
  for (const Json& count : json.value("kvm", Json::array())) {
    trace.kvm.push_back({.name = text_at(count, "name"), .value = number_at(count, "count")});
  }
  for (const Json& row : json.at("rows")) {
    trace.rows.push_back({.reason = text_at(row, "reason"),
                          .device = text_at(row, "device"),
                          .symbol = text_at(row, "symbol"),
                          .count = number_at(row, "count"),
                          .nanoseconds = number_at(row, "ns")});
  }
  for (const Json& event : json.at("events")) {
    if (!event.is_array() || event.size() != 4) throw Misfit{"an event is no list of four numbers"};
    trace.events.push_back({.start = number(event[0], "start of an event"),
                            .nanoseconds = number(event[1], "time of an event"),
                            .vcpu = small_number(event[2], "vCPU of an event", kMostCpus),
                            .row = small_number(event[3], "row of an event", trace.rows.size())});
  }
  trace.events_lost = number_at(json, "events_lost");
  return trace;
}

Error no_trace(const std::string& path, std::string_view why) {
  return Error(fmt::format("'{}' is no trace of vmm: {}", path, why), "make one: vmm run --trace F.json ...");
}

}  // namespace

uint64_t RunTrace::exits() const {
  uint64_t sum = 0;
  for (const Row& row : rows) sum += row.count;
  return sum;
}

uint64_t RunTrace::nanoseconds() const {
  uint64_t sum = 0;
  for (const Row& row : rows) sum += row.nanoseconds;
  return sum;
}

std::vector<TraceSum> sum_by(const RunTrace& trace, std::string RunTrace::Row::*text) {
  std::map<std::string, TraceSum> sums;
  for (const RunTrace::Row& row : trace.rows) {
    TraceSum& sum = sums[row.*text];
    sum.name = row.*text;
    sum.count += row.count;
    sum.nanoseconds += row.nanoseconds;
  }
  std::vector<TraceSum> sorted;
  sorted.reserve(sums.size());
  for (auto& [name, sum] : sums) sorted.push_back(std::move(sum));
  std::ranges::stable_sort(sorted, std::greater(), &TraceSum::nanoseconds);
  return sorted;
}

std::string to_json(const RunTrace& trace) {
  Json json;
  json["format"] = kFormat;
  json["version"] = kVersion;
  json["kernel"] = printable(trace.kernel);
  json["release"] = trace.release;
  json["seconds"] = trace.seconds;
  json["exits"] = trace.exits();
  json["ns"] = trace.nanoseconds();
  json["phases"] = Json::array();
  for (const RunTrace::Phase& phase : trace.phases) {
    json["phases"].push_back(
        {{"name", phase.name}, {"start", phase.start}, {"seconds", phase.seconds}, {"until", phase.until}});
  }
  json["notes"] = trace.notes;
  json["vcpus"] = Json::array();
  for (const RunTrace::Cpu& cpu : trace.cpus) {
    json["vcpus"].push_back({{"id", cpu.id}, {"exits", cpu.exits}, {"ns", cpu.nanoseconds}});
  }
  json["kvm"] = Json::array();
  for (const RunTrace::Count& count : trace.kvm) json["kvm"].push_back({{"name", count.name}, {"count", count.value}});
  json["rows"] = Json::array();
  for (const RunTrace::Row& row : trace.rows) {
    json["rows"].push_back({{"reason", row.reason},
                            {"device", row.device},
                            {"symbol", row.symbol},
                            {"count", row.count},
                            {"ns", row.nanoseconds}});
  }
  json["events_lost"] = trace.events_lost;
  std::string text = json.dump(1, ' ', true, Json::error_handler_t::replace);
  // Hundreds of thousands: a line each, and not a line for each number.
  text.resize(text.rfind("\n}"));
  text += ",\n \"events\": [";
  for (size_t i = 0; i < trace.events.size(); ++i) {
    const RunTrace::Event& event = trace.events[i];
    fmt::format_to(std::back_inserter(text), "{}\n  [{},{},{},{}]", i == 0 ? "" : ",", event.start, event.nanoseconds,
                   event.vcpu, event.row);
  }
  return text + "]\n}\n";
}

RunTrace parse_trace(const std::string& path, std::string_view text) {
  try {
    return from_json(Json::parse(text));
  } catch (const nlohmann::json::exception& error) {
    // After nlohmann's own "[json.exception.parse_error.101] ".
    const std::string_view what = error.what();
    throw no_trace(path, printable(what.substr(what.find(']') + 2)));
  } catch (const Misfit& misfit) {
    throw no_trace(path, misfit.what);
  }
}

RunTrace read_trace(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) throw Error(fmt::format("cannot open '{}': {}", path, errno_text(errno)), "vmm run --trace F.json ...");
  std::string text;
  std::array<char, 65536> piece{};
  for (;;) {
    const ssize_t got = ::read(fd.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Error(fmt::format("cannot read '{}': {}", path, errno_text(errno)));
    if (got == 0) break;
    text.append(piece.data(), static_cast<size_t>(got));
    if (text.size() > kMostBytes) throw no_trace(path, "it is too large");
  }
  return parse_trace(path, text);
}

std::string to_perfetto(const RunTrace& trace) {
  constexpr double kMicrosecond = 1e-6;
  const auto quoted = [](const std::string& text) {
    return Json(text).dump(-1, ' ', true, Json::error_handler_t::replace);
  };
  std::string text = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n";
  const auto name_track = [&](size_t track, const std::string& name) {
    text += fmt::format("{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":1,\"tid\":{},\"args\":{{\"name\":{}}}}},\n",
                        track, quoted(name));
  };
  text += fmt::format("{{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":1,\"args\":{{\"name\":{}}}}},\n",
                      quoted("vmm " + trace.kernel));
  name_track(0, "phases");
  for (const RunTrace::Cpu& cpu : trace.cpus) name_track(size_t{cpu.id} + 1, fmt::format("vCPU {}", cpu.id));
  for (const RunTrace::Event& event : trace.events) {
    const RunTrace::Row& row = trace.rows[event.row];
    fmt::format_to(std::back_inserter(text),
                   "{{\"ph\":\"X\",\"pid\":1,\"tid\":{},\"ts\":{}.{:03},\"dur\":{}.{:03},\"cat\":{},\"name\":{},"
                   "\"args\":{{\"symbol\":{}}}}},\n",
                   event.vcpu + 1, event.start / 1000, event.start % 1000, event.nanoseconds / 1000,
                   event.nanoseconds % 1000, quoted(row.reason), quoted(row.device), quoted(row.symbol));
  }
  for (const RunTrace::Phase& phase : trace.phases) {
    text += fmt::format(
        "{{\"ph\":\"X\",\"pid\":1,\"tid\":0,\"ts\":{:.3f},\"dur\":{:.3f},\"cat\":\"phase\",\"name\":{}}},\n",
        phase.start / kMicrosecond, phase.seconds / kMicrosecond, quoted(phase.name));
  }
  text.resize(text.rfind(",\n"));
  return text + "\n]}\n";
}

}  // namespace vmm
