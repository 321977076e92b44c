// One request, one answer; see control_client.h.
#include "vmm/control/control_client.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "vmm/blackbox/vmcore.h"
#include "vmm/control/control_address.h"
#include "vmm/control/control_verbs.h"
#include "vmm/control/core_dump.h"
#include "vmm/core/error.h"
#include "vmm/core/fd.h"
#include "vmm/machine/config.h"

namespace vmm {

namespace {

using Json = nlohmann::json;

constexpr std::array<std::string_view, 11> kVerbs{"list", "pause", "resume", "reset", "nmi", "sysrq",
                                                  "why",  "dmesg", "stats",  "dump",  "kill"};
// A machine answers between two turns of its loop; one that does not is stopped, or hangs.
constexpr time_t kPatience = 10;

// Nothing when nobody listens there.
std::optional<UniqueFd> connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw Error(fmt::format("'{}' is too long for a socket", path));
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval patience{.tv_sec = kPatience, .tv_usec = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return socket;
  if (errno == ECONNREFUSED || errno == ENOENT) return std::nullopt;
  throw Error(fmt::format("cannot connect to '{}': {}", path, errno_text(errno)));
}

// Memory takes its time on its way to a disk.
void wait_as_long_as_it_takes(const UniqueFd& socket) {
  const timeval for_ever{};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &for_ever, sizeof for_ever);
}

// What comes back for a line, up to its newline.
std::string line_back(const UniqueFd& socket, const std::string& line) {
  const auto unanswered = [] {
    return Error(
        fmt::format("the machine does not answer: {}", errno == EAGAIN ? "it is stopped, or hangs" : errno_text(errno)),
        "look at its process: fg, or kill -CONT PID");
  };
  if (::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
    throw unanswered();
  }
  std::string answer;
  std::array<char, 65536> bytes;
  while (!answer.ends_with('\n')) {
    const ssize_t length = ::recv(socket.get(), bytes.data(), bytes.size(), 0);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) throw unanswered();
    if (length == 0) throw Error("the machine ended before it answered");
    answer.append(bytes.data(), static_cast<size_t>(length));
  }
  return answer;
}

Json understood(const std::string& line) {
  Json answer = Json::parse(line, nullptr, false);
  if (!answer.is_object() || !answer.value("ok", false)) {
    throw Error(answer.is_object() ? answer.value("error", "no") : "the machine's answer is not understood",
                answer.is_object() ? answer.value("fix", "") : "");
  }
  return answer;
}

Json ask_socket(const UniqueFd& socket, const Json& request) {
  return understood(line_back(socket, request.dump() + "\n"));
}

// What a machine that is gone left behind answers as if it was there.
Json ask_vmcore(const std::string& path, const std::string& verb) {
  const Vmcore core(path);
  return understood(answer_from(Findings::of(core, core.cpus(), core.vmcoreinfo()), verb));
}

std::string list() {
  std::string text;
  for (const std::string& name : control_names()) {
    const std::optional<UniqueFd> socket = connect_to(control_path(name));
    if (!socket) continue;  // left behind by one that was killed
    try {
      const Json status = ask_socket(*socket, {{"do", "status"}});
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
  const std::optional<UniqueFd> socket = connect_to(control_path(request.name));
  if (!socket) {
    throw Error(fmt::format("no machine '{}' is running{}", request.name,
                            may_be_dead ? ", and there is no vmcore of that name" : ""),
                "vmm list tells which are; one is found if it was started with --name");
  }
  Json question{{"do", request.verb == "stats" ? "status" : request.verb}};
  if (!request.key.empty()) question["key"] = request.key;
  if (request.verb == "dump") {
    question["file"] = std::filesystem::absolute(request.file).lexically_normal().string();
    wait_as_long_as_it_takes(*socket);
  }
  return ask_socket(*socket, question);
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

std::string status_text(Json status) {
  status.erase("ok");
  std::string text;
  for (const auto& [key, value] : status.items()) {
    text += fmt::format("{:<8} {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return text;
}

}  // namespace

bool is_control_verb(const std::string& verb) { return std::ranges::find(kVerbs, verb) != kVerbs.end(); }

ControlRequest parse_control_request(const std::string& verb, const std::vector<std::string>& arguments) {
  if (verb == "list") {
    if (!arguments.empty()) throw Error(fmt::format("list takes no '{}'", arguments.front()), "vmm list");
    return {.verb = verb};
  }
  if (verb == "dump") return parse_dump(arguments);
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
    if (request.verb == "stats") return status_text(answer);
    if (request.verb == "dump") return "vmcore: " + how_to_open(request.file) + "\n";
  } catch (const Json::exception&) {
    throw Error("the machine's answer is not understood", "use the vmm that it was started with");
  }
  return {};
}

}  // namespace vmm
