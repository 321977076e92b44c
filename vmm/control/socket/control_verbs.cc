// The requests, by name; see control_verbs.h.
#include "vmm/control/socket/control_verbs.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "vmm/core/error.h"

namespace vmm {

namespace {

using Json = nlohmann::json;

Json done() { return {{"ok", true}}; }

Json failed(const std::string& what, const std::string& fix) {
  Json answer{{"ok", false}, {"error", what}};
  if (!fix.empty()) answer["fix"] = fix;
  return answer;
}

Json tell_status(Controls& controls, const Json&) {
  const Controls::Status status = controls.status();
  return {{"ok", true},
          {"name", status.name},
          {"pid", ::getpid()},
          {"state", status.state},
          {"kernel", status.kernel},
          {"cpus", status.cpus},
          {"memory", status.memory},
          {"seconds", status.seconds},
          {"exits", status.exits}};
}

Json why(const Findings& findings) {
  Json answer = done();
  answer["kernel"] = findings.kernel.empty() ? Json() : Json(findings.kernel);
  answer["panic"] = findings.panic ? Json(findings.panic->reason) : Json();
  answer["vcpus"] = Json::array();
  for (const Findings::Cpu& cpu : findings.cpus) answer["vcpus"].push_back({{"id", cpu.id}, {"doing", cpu.doing}});
  answer["troubles"] = findings.troubles;
  return answer;
}

Json log(const Findings& findings) {
  if (findings.log.empty()) {
    return failed("no kernel log was found in the guest's memory",
                  findings.troubles.empty() ? std::string() : findings.troubles.front());
  }
  return {{"ok", true}, {"kernel", findings.kernel}, {"log", findings.log}};
}

Json send_sysrq(Controls& controls, const Json& request) {
  const auto key = request.find("key");
  if (key == request.end() || !key->is_string() || key->get_ref<const std::string&>().size() != 1) {
    return failed("sysrq needs a key of one character", R"({"do": "sysrq", "key": "t"})");
  }
  controls.send_sysrq(key->get_ref<const std::string&>().front());
  return done();
}

// The name of a console; empty when none was given.
std::string console_name(const Json& request) {
  const auto name = request.find("name");
  return name != request.end() && name->is_string() ? name->get<std::string>() : std::string();
}

Json send_break(Controls& controls, const Json& request) {
  controls.send_break(console_name(request));
  return done();
}

template <void (Controls::*kCall)()>
Json call(Controls& controls, const Json&) {
  (controls.*kCall)();
  return done();
}

// Where a relative path would lead is not the client's folder.
void dump(Controls& controls, const Json& request, const std::function<void(const Json&)>& later) {
  const auto file = request.find("file");
  if (file == request.end() || !file->is_string() || !file->get_ref<const std::string&>().starts_with('/')) {
    throw Error("dump needs a file, with its whole path", R"({"do": "dump", "file": "/tmp/vmcore"})");
  }
  controls.dump(file->get<std::string>(), [later](const std::optional<Error>& trouble) {
    later(trouble ? failed(trouble->what(), trouble->fix()) : done());
  });
}

void balloon(Controls& controls, const Json& request, const std::function<void(const Json&)>& later) {
  Controls::BalloonRequest wanted;
  if (const auto size = request.find("size"); size != request.end()) {
    if (!size->is_number_unsigned())
      throw Error("balloon: the size is a number of bytes", R"({"do": "balloon", "size": 0})");
    wanted.size = size->get<uint64_t>();
  }
  if (const auto hint = request.find("hint"); hint != request.end()) {
    if (!hint->is_boolean()) throw Error("balloon: hint is true or false", R"({"do": "balloon", "hint": true})");
    wanted.hint = hint->get<bool>();
  }
  controls.balloon(wanted, [later](const Controls::Balloon& balloon) {
    Json answer = done();
    if (balloon.hinted) {
      answer["hinted"] = *balloon.hinted;
      answer["hinted_all"] = balloon.hinted_all;
    }
    answer["target"] = balloon.target;
    answer["actual"] = balloon.actual;
    answer["given_back"] = balloon.given_back;
    answer["guest"] = Json::object();
    for (const auto& [name, value] : balloon.guest) answer["guest"][name] = value;
    answer["age"] = balloon.age ? Json(*balloon.age) : Json();
    later(answer);
  });
}

struct Request {
  std::string_view name;
  Json (*serve)(Controls&, const Json&);
};
constexpr std::array<Request, 12> kRequests{{
    {"status", tell_status},
    {"pause", call<&Controls::pause>},
    {"resume", call<&Controls::resume>},
    {"reset", call<&Controls::reset>},
    {"poweroff", call<&Controls::press_power_button>},
    {"nmi", call<&Controls::send_nmi>},
    {"sysrq", send_sysrq},
    {"break", send_break},
    {"why", [](Controls& controls, const Json&) { return why(controls.look_inside()); }},
    {"dmesg", [](Controls& controls, const Json&) { return log(controls.look_inside()); }},
    {"kill", call<&Controls::quit>},
    {"events", [](Controls&, const Json&) { return done(); }},
}};

// Requests that are answered later.
struct SlowRequest {
  std::string_view name;
  void (*serve)(Controls&, const Json&, const std::function<void(const Json&)>& later);
};
constexpr std::array<SlowRequest, 2> kSlowRequests{{{"dump", dump}, {"balloon", balloon}}};

constexpr std::string_view kConsole = "console";  // the last one that a client makes

std::string names() {
  std::string text;
  for (const Request& request : kRequests) text += fmt::format("{}, ", request.name);
  for (const SlowRequest& request : kSlowRequests) text += fmt::format("{}, ", request.name);
  return text.append(kConsole);
}

// What "do" says; empty when the line is no request. Nested beyond any sense it is none either: the parser keeps a
// stack of its own, and lines are short.
std::string wanted(const Json& request) {
  if (!request.is_object()) return {};
  const auto found = request.find("do");
  return found != request.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Json parse(std::string_view line) { return Json::parse(line, nullptr, false); }

// Nothing when `later` is called with the answer.
std::optional<Json> serve(Controls& controls, std::string_view line, const std::function<void(const Json&)>& later) {
  const Json request = parse(line);
  const std::string name = wanted(request);
  if (name.empty()) return failed("this is no request", R"({"do": "status"})");
  try {
    if (const auto* const slow = std::ranges::find(kSlowRequests, name, &SlowRequest::name);
        slow != kSlowRequests.end()) {
      slow->serve(controls, request, later);
      return std::nullopt;
    }
    const auto* const found = std::ranges::find(kRequests, name, &Request::name);
    if (found == kRequests.end()) return failed(fmt::format("there is no request '{}'", name), names());
    return found->serve(controls, request);
  } catch (const Error& error) {
    return failed(error.what(), error.fix());
  }
}

// Guests' and clients' bytes need not be UTF-8.
std::string text_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

std::optional<std::string> answer(Controls& controls, std::string_view request,
                                  std::function<void(std::string)> later) {
  const auto now = serve(controls, request, [later = std::move(later)](const Json& answer) { later(text_of(answer)); });
  return now ? std::optional(text_of(*now)) : std::nullopt;
}

std::string answer_from(const Findings& findings, std::string_view name) {
  return text_of(name == "why" ? why(findings) : log(findings));
}

std::string refusal(const std::string& what, const std::string& fix) { return text_of(failed(what, fix)); }

bool asks_for_events(std::string_view request) { return wanted(parse(request)) == "events"; }

std::optional<ConsoleAnswer> answer_console(const Controls& controls, std::string_view line) {
  const Json request = parse(line);
  if (wanted(request) != kConsole) return std::nullopt;
  try {
    const Controls::Console console = controls.find_console(console_name(request));
    Json text = done();
    text["name"] = console.name;
    text["where"] = console.where;
    text["visitors"] = console.visitors;
    return ConsoleAnswer{text_of(text), console.name};
  } catch (const Error& error) {
    return ConsoleAnswer{refusal(error.what(), error.fix()), std::nullopt};
  }
}

std::string event_line(std::string_view event) { return text_of({{"event", event}}); }

}  // namespace vmm
