// One request, one answer; see control_client.h.
#include "vmm/control/socket/control_client.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "vmm/blackbox/vmcore.h"
#include "vmm/control/cli/run_flags.h"
#include "vmm/control/session/core_dump.h"
#include "vmm/control/socket/control_address.h"
#include "vmm/control/socket/control_link.h"
#include "vmm/control/socket/control_verbs.h"
#include "vmm/core/error.h"
#include "vmm/machine/config.h"

namespace vmm {

namespace {

using Json = nlohmann::json;

constexpr std::array<std::string_view, 14> kVerbs{"list", "pause", "resume", "reset", "poweroff", "nmi",     "sysrq",
                                                  "why",  "dmesg", "stats",  "dump",  "kill",     "console", "balloon"};
// What a machine that is gone left behind answers as if it was there.
Json ask_vmcore(const std::string& path, const std::string& verb) {
  const Vmcore core(path);
  return understood_answer(answer_from(Findings::of(core, core.cpus(), core.vmcoreinfo()), verb));
}

std::string list() {
  std::string text;
  for (const std::string& name : control_names()) {
    const std::optional<ControlLink> link = ControlLink::to(name);
    if (!link) continue;  // left behind by one that was killed
    try {
      const Json status = link->ask({{"do", "status"}});
      text += fmt::format("{:<16} {:<8} pid {:<8} {:>3} vCPU {:>9}  {}\n", name, status.value("state", "?"),
                          status.value("pid", 0), status.value("cpus", 0u),
                          size_text(status.value("memory", uint64_t{0})), status.value("kernel", ""));
    } catch (const std::exception& error) {
      text += fmt::format("{:<16} {}\n", name, error.what());
    }
  }
  return text.empty() ? "no machine with a --name is running\n" : text;
}

std::string stacks_text(const Json& why) {
  std::string text =
      why["kernel"].is_string() ? why["kernel"].get<std::string>() + "\n" : "no kernel that is understood\n";
  if (why["panic"].is_string()) text += fmt::format("panic: {}\n", why["panic"].get<std::string>());
  for (const Json& cpu : why["vcpus"])
    text += fmt::format("vCPU {}: {}\n", cpu["id"].get<unsigned>(), cpu["doing"].get<std::string>());
  for (const Json& trouble : why["troubles"]) text += trouble.get<std::string>() + "\n";
  return text;
}

std::string log_text(const Json& answer) {
  std::string text;
  for (const Json& line : answer["log"]) text += line.get<std::string>() + "\n";
  return text;
}

Json answer_to(const ControlRequest& request) {
  const bool may_be_dead = request.verb == "why" || request.verb == "dmesg";
  std::error_code ignored;
  if (may_be_dead && std::filesystem::is_regular_file(request.name, ignored)) {
    return ask_vmcore(request.name, request.verb);
  }
  const std::optional<ControlLink> link = ControlLink::to(request.name);
  if (!link) throw not_running(request.name, may_be_dead ? ", and there is no vmcore of that name" : "");
  Json question{{"do", request.verb == "stats" ? "status" : request.verb}};
  if (!request.key.empty()) question["key"] = request.key;
  if (!request.console.empty()) question["name"] = request.console;
  if (request.verb == "dump") {
    question["file"] = std::filesystem::absolute(request.file).lexically_normal().string();
    link->wait_as_long_as_it_takes();
  }
  if (request.size) question["size"] = *request.size;
  if (request.hint) question["hint"] = true;
  return link->ask(question);
}

// NAME, NAME FILE, or with -o FILE anywhere.
ControlRequest parse_dump(std::vector<std::string> arguments) {
  const Error misused("dump takes the name of a machine, and a file", "vmm dump NAME vmcore; vmm list tells the names");
  if (const auto flag = std::ranges::find(arguments, "-o"); flag != arguments.end()) {
    if (std::next(flag) == arguments.end()) throw misused;
    std::rotate(flag, flag + 2, arguments.end());
    arguments.erase(arguments.end() - 2);
  }
  if (arguments.empty() || arguments.size() > 2) throw misused;
  return {.verb = "dump", .name = arguments[0], .file = arguments.size() == 2 ? arguments[1] : "vmcore"};
}

// NAME, perhaps the name of a console, and --escape KEY anywhere.
ControlRequest parse_console(std::vector<std::string> arguments) {
  const Error misused("console takes the name of a machine, and perhaps of one of its consoles",
                      "vmm console NAME [ttyS0|hvc0] [--escape ^]]; vmm list tells the names");
  ControlRequest request{.verb = "console"};
  if (const auto flag = std::ranges::find(arguments, "--escape"); flag != arguments.end()) {
    if (std::next(flag) == arguments.end()) throw misused;
    request.escape = *std::next(flag);
    arguments.erase(flag, flag + 2);
  }
  if (arguments.empty() || arguments.size() > 2 || arguments[0].starts_with('-')) throw misused;
  request.name = arguments[0];
  if (arguments.size() == 2) request.console = arguments[1];
  return request;
}

// NAME, perhaps a size, or "hint".
ControlRequest parse_balloon(const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments.size() > 2) {
    throw Error("balloon takes the name of a machine, and perhaps a size, or hint",
                "vmm balloon NAME [512M|hint]; vmm list tells the names");
  }
  ControlRequest request{.verb = "balloon", .name = arguments[0]};
  if (arguments.size() == 1) return request;
  request.hint = arguments[1] == "hint";
  if (!request.hint) request.size = parse_size("vmm balloon NAME", arguments[1]);
  return request;
}

// Linux counts memory, caches and what is swapped in bytes, all else in events.
std::string balloon_text(const Json& answer) {
  const auto row = [](std::string_view name, const std::string& value) {
    return fmt::format("{:<20} {}\n", name, value);
  };
  const auto mib = [](const Json& bytes) { return fmt::format("{:.1f} MiB", bytes.get<double>() / (1 << 20)); };
  std::string text = row("size asked for", mib(answer["target"])) + row("size now", mib(answer["actual"])) +
                     row("given to the host", mib(answer["given_back"]) + " so far");
  if (answer.contains("hinted")) {
    text += row("free, as hinted", mib(answer["hinted"]) + (answer["hinted_all"].get<bool>()
                                                                ? ": the host takes it first when it is short"
                                                                : " so far: the guest did not come to an end"));
  }
  if (answer["age"].is_null()) return text + "the guest's driver tells nothing of its memory\n";
  text += fmt::format("the guest, {:.1f} s ago:\n", answer["age"].get<double>());
  for (const auto& [name, value] : answer["guest"].items()) {
    const bool is_size = name.ends_with("memory") || name.ends_with("caches") || name.starts_with("swap");
    text += row("  " + name, is_size ? mib(value) : value.dump());
  }
  return text;
}

std::string status_text(Json status) {
  status.erase("ok");
  std::string text;
  for (const auto& [key, value] : status.items()) {
    text += fmt::format("{:<8} {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return text;
}

}  // namespace

std::span<const std::string_view> control_verbs() { return kVerbs; }

bool is_control_verb(const std::string& verb) { return std::ranges::find(kVerbs, verb) != kVerbs.end(); }

ControlRequest parse_control_request(const std::string& verb, const std::vector<std::string>& arguments) {
  if (verb == "list") {
    if (!arguments.empty()) throw Error(fmt::format("list takes no '{}'", arguments.front()), "vmm list");
    return {.verb = verb};
  }
  if (verb == "dump") return parse_dump(arguments);
  if (verb == "console") return parse_console(arguments);
  if (verb == "balloon") return parse_balloon(arguments);
  const bool has_key = verb == "sysrq";
  if (arguments.size() != (has_key ? 2 : 1)) {
    throw Error(fmt::format("{} takes the name of a machine{}", verb, has_key ? " and a key" : ""),
                fmt::format("vmm {}{} NAME; vmm list tells the names", verb, has_key ? " KEY" : ""));
  }
  if (has_key && arguments[0].size() != 1) {
    throw Error(fmt::format("sysrq: '{}' is no key", arguments[0]), "vmm sysrq t NAME");
  }
  return {.verb = verb, .name = arguments.back(), .key = has_key ? arguments[0] : std::string()};
}

std::string ask(const ControlRequest& request) {
  if (request.verb == "list") return list();
  try {
    const Json answer = answer_to(request);
    if (request.verb == "why") return stacks_text(answer);
    if (request.verb == "dmesg") return log_text(answer);
    if (request.verb == "balloon") return balloon_text(answer);
    if (request.verb == "stats") return status_text(answer);
    if (request.verb == "dump") return "vmcore: " + how_to_open(request.file) + "\n";
  } catch (const Json::exception&) {
    throw Error("the machine's answer is not understood", "use the vmm that it was started with");
  }
  return {};
}

}  // namespace vmm
