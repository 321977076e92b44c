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

using Json = nlohmann::json;                 // as it is read: a key is found in logarithmic time
using OrderedJson = nlohmann::ordered_json;  // as it is written, for people

constexpr std::string_view kFormat = "vmm-trace";
constexpr int kVersion = 1;
constexpr uint64_t kMostNanoseconds = uint64_t{1} << 62;
// What a file may hold. A trace of ours stays below a tenth of each, but for its events; all together keep whatever
// somebody else made to seconds and to 256 MiB.
constexpr size_t kMostBytes = size_t{64} << 20;
constexpr int kMostNesting = 8;
constexpr size_t kMostEvents = size_t{1} << 19;
constexpr size_t kMostOtherValues = 200'000;
constexpr size_t kMostText = size_t{8} << 20;       // bytes of all texts
constexpr size_t kMostPerfetto = size_t{96} << 20;  // bytes that one for Perfetto may come to

// Readers below throw nlohmann's exceptions or this, and parse_trace() makes an Error of both.
struct Misfit {
  std::string what;
};

// It repeats what the file has, which may be megabytes.
std::string cut(const std::string& message) {
  constexpr size_t kMost = 200;
  return message.size() <= kMost ? message : message.substr(0, kMost) + "...";
}

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

constexpr size_t kMostCpus = 4096;

RunTrace::Event event_from(const Json& event) {
  if (!event.is_array() || event.size() != 4) throw Misfit{"an event is no list of four numbers"};
  return {.start = number(event[0], "start of an event"),
          .nanoseconds = number(event[1], "time of an event"),
          .vcpu = small_number(event[2], "vCPU of an event", kMostCpus),
          .row = small_number(event[3], "row of an event", size_t{1} << 32)};
}

// Looks at each value as it is parsed, so that no limit is passed by more than one value. Events are most of a file:
// each is taken and its JSON dropped.
class Intake {
 public:
  bool take(int depth, Json::parse_event_t what, const Json& value) {
    if (depth >= kMostNesting) throw Misfit{fmt::format("it is nested deeper than {}", kMostNesting)};
    if (value.is_string() && (text_ += value.get_ref<const std::string&>().size()) > kMostText) {
      throw Misfit{fmt::format("it has more than {} MiB of text", kMostText >> 20)};
    }
    const bool begins = what == Json::parse_event_t::array_start || what == Json::parse_event_t::object_start;
    if ((begins || what == Json::parse_event_t::value) && ++values_ > kMostOtherValues) {
      throw Misfit{fmt::format("it has more than {} values besides events", kMostOtherValues)};
    }
    if (what == Json::parse_event_t::key && depth == 1) in_events_ = value == "events";
    if (in_events_ && what == Json::parse_event_t::array_end && depth == 2) {
      if (events.size() == kMostEvents) throw Misfit{fmt::format("it has more than {} events", kMostEvents)};
      events.push_back(event_from(value));
      values_ -= 1 + value.size();
      return false;
    }
    return true;
  }

  std::vector<RunTrace::Event> events;

 private:
  bool in_events_ = false;
  size_t text_ = 0;    // bytes of texts so far
  size_t values_ = 0;  // numbers, texts, lists and objects so far, without those of events
};

RunTrace from_json(const Json& json, std::vector<RunTrace::Event> events) {
  if (!json.is_object() || !json.contains("format") || json["format"] != kFormat) throw Misfit{"it is another file"};
  if (json.at("version") != kVersion) {
    throw Misfit{
        fmt::format("its version is {}, and this vmm knows {}", cut(printable(json["version"].dump())), kVersion)};
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
  if (!json.at("events").empty()) throw Misfit{"an event is no list of four numbers"};
  for (const RunTrace::Event& event : events) {
    if (event.row >= trace.rows.size()) {
      throw Misfit{fmt::format("'row of an event' is {}, and must be below {}", event.row, trace.rows.size())};
    }
  }
  trace.events = std::move(events);
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
  OrderedJson json;
  json["format"] = kFormat;
  json["version"] = kVersion;
  json["kernel"] = printable(trace.kernel);
  json["release"] = trace.release;
  json["seconds"] = trace.seconds;
  json["exits"] = trace.exits();
  json["ns"] = trace.nanoseconds();
  json["phases"] = OrderedJson::array();
  for (const RunTrace::Phase& phase : trace.phases) {
    json["phases"].push_back(
        {{"name", phase.name}, {"start", phase.start}, {"seconds", phase.seconds}, {"until", phase.until}});
  }
  json["notes"] = trace.notes;
  json["vcpus"] = OrderedJson::array();
  for (const RunTrace::Cpu& cpu : trace.cpus) {
    json["vcpus"].push_back({{"id", cpu.id}, {"exits", cpu.exits}, {"ns", cpu.nanoseconds}});
  }
  json["kvm"] = OrderedJson::array();
  for (const RunTrace::Count& count : trace.kvm) json["kvm"].push_back({{"name", count.name}, {"count", count.value}});
  json["rows"] = OrderedJson::array();
  for (const RunTrace::Row& row : trace.rows) {
    json["rows"].push_back({{"reason", row.reason},
                            {"device", row.device},
                            {"symbol", row.symbol},
                            {"count", row.count},
                            {"ns", row.nanoseconds}});
  }
  json["events_lost"] = trace.events_lost;
  std::string text = json.dump(1, ' ', true, OrderedJson::error_handler_t::replace);
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
    Intake intake;
    const Json json = Json::parse(text, [&intake](int depth, Json::parse_event_t what, const Json& value) {
      return intake.take(depth, what, value);
    });
    return from_json(json, std::move(intake.events));
  } catch (const nlohmann::json::exception& error) {
    // After nlohmann's own "[json.exception.parse_error.101] ".
    const std::string_view what = error.what();
    throw no_trace(path, cut(printable(what.substr(what.find(']') + 2))));
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
    if (text.size() > kMostBytes) throw no_trace(path, fmt::format("it is larger than {} MiB", kMostBytes >> 20));
  }
  return parse_trace(path, text);
}

std::string to_perfetto(const RunTrace& trace) {
  constexpr double kMicrosecond = 1e-6;
  const auto quoted = [](const std::string& text) {
    return OrderedJson(text).dump(-1, ' ', true, OrderedJson::error_handler_t::replace);
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
  std::vector<std::string> what;  // an event of each row is
  what.reserve(trace.rows.size());
  for (const RunTrace::Row& row : trace.rows) {
    what.push_back(fmt::format("\"cat\":{},\"name\":{},\"args\":{{\"symbol\":{}}}", quoted(row.reason),
                               quoted(row.device), quoted(row.symbol)));
  }
  for (const RunTrace::Event& event : trace.events) {
    fmt::format_to(std::back_inserter(text),
                   "{{\"ph\":\"X\",\"pid\":1,\"tid\":{},\"ts\":{}.{:03},\"dur\":{}.{:03},{}}},\n", event.vcpu + 1,
                   event.start / 1000, event.start % 1000, event.nanoseconds / 1000, event.nanoseconds % 1000,
                   what[event.row]);
    if (text.size() > kMostPerfetto) {
      throw Error(fmt::format("as a file for Perfetto the trace is larger than {} MiB", kMostPerfetto >> 20),
                  "show it as text, or with --html");
    }
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
