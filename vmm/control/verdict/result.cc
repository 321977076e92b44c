// Writing results down; see result.h.
#include "vmm/control/verdict/result.h"

#include <fmt/core.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "vmm/core/new_file.h"
#include "vmm/core/standard_output.h"

namespace vmm {

namespace {

std::string test_name(const RunResult& result) {
  return result.command.empty() ? "boot " + result.kernel : shell_line(result.command);
}

bool passed(const RunResult& result) { return result.exit_code == 0; }

// Text escaped for a workflow command of GitHub.
std::string github_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '%':
        out += "%25";
        break;
      case '\r':
        out += "%0D";
        break;
      case '\n':
        out += "%0A";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace

std::string to_json(const RunResult& result) {
  nlohmann::ordered_json json;
  json["verdict"] = result.verdict;
  json["reason"] = result.reason;
  json["exit"] = result.exit_code;
  if (!result.phase.empty()) json["phase"] = result.phase;
  json["t"] = result.seconds;
  json["kernel"] = result.kernel;
  if (!result.release.empty()) json["release"] = result.release;
  if (!result.kaslr.empty()) json["kaslr"] = result.kaslr;
  if (!result.command.empty()) json["command"] = result.command;
  if (result.status) json["status"] = *result.status;
  if (result.signal) json["signal"] = *result.signal;
  for (const RunResult::Detector& detector : result.detectors) {
    json["detectors"][detector.name] =
        detector.says.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(detector.says);
  }
  if (!result.disagreement.empty()) json["disagreement"] = result.disagreement;
  for (const TapCase& test : result.cases) {
    nlohmann::ordered_json& entry = json["cases"].emplace_back();
    entry["name"] = test.name;
    entry["status"] = status_name(test.status);
    if (!test.reason.empty()) entry["reason"] = test.reason;
  }
  if (!result.tap_problems.empty()) json["tap_problems"] = result.tap_problems;
  json["vcpus"] = nlohmann::ordered_json::array();
  for (const RunResult::Cpu& cpu : result.vcpus) {
    json["vcpus"].push_back({{"id", cpu.id}, {"doing", cpu.doing}, {"rip", cpu.place}, {"stack", cpu.stack}});
  }
  json["last_log"] = result.last_log;
  if (!result.vmcore.empty()) json["vmcore"] = result.vmcore;
  if (!result.stuck.empty()) json["stuck"] = result.stuck;
  if (!result.console.empty()) json["console"] = result.console;
  json["exits"]["vmm"] = result.exits;
  for (const RunResult::Exits& exits : result.kvm_exits) json["exits"][exits.name] = exits.count;
  json["reproduce"] = result.reproduce;
  // What a guest printed need not be UTF-8.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::vector<JunitCase> tap_cases(std::string_view of, const std::vector<TapCase>& cases) {
  std::vector<JunitCase> out;
  for (const TapCase& result : cases) {
    JunitCase& test = out.emplace_back(JunitCase{.classname = std::string(of), .name = result.name});
    if (result.status == TapCase::Status::kFailed) test.troubles.push_back({"failure", "not ok", "", ""});
    if (result.status == TapCase::Status::kSkipped) test.skipped = result.reason;
    if (result.status == TapCase::Status::kTodo) test.skipped = "expected to fail: " + result.reason;
  }
  return out;
}

std::string to_junit(const RunResult& result) {
  std::vector<JunitCase> cases = tap_cases(test_name(result), result.cases);
  JunitCase run{.classname = result.kernel, .name = test_name(result), .seconds = result.seconds};
  if (!passed(result)) {
    std::string details;
    for (const RunResult::Cpu& cpu : result.vcpus) details += fmt::format("vCPU {}: {}\n", cpu.id, cpu.doing);
    for (const std::string& line : result.last_log) details += line + "\n";
    details += "reproduce: " + result.reproduce + "\n";
    run.troubles.push_back({"failure", result.verdict, result.reason, details});
  }
  cases.insert(cases.begin(), std::move(run));
  return junit_document("vmm", result.seconds, cases);
}

// The command's own results are a level of subtests.
std::string to_tap(const RunResult& result) {
  const std::string name = test_name(result);
  std::string text = "TAP version 14\n1..1\n";
  if (!result.cases.empty()) {
    text += fmt::format("# Subtest: {}\n    1..{}\n", tap_text(name), result.cases.size());
    for (size_t i = 0; i < result.cases.size(); ++i) text += tap_line(4, i + 1, result.cases[i]);
  }
  text +=
      tap_line(0, 1, {.name = name, .status = passed(result) ? TapCase::Status::kPassed : TapCase::Status::kFailed});
  if (passed(result)) return text;
  return text + tap_comment(fmt::format("{}: {}\nexit status: {}\nreproduce: {}", result.verdict, result.reason,
                                        result.exit_code, result.reproduce));
}

std::string to_github(const RunResult& result) {
  if (passed(result)) return {};
  return fmt::format("::error title=vmm {}::{}\n", github_text(result.verdict),
                     github_text(fmt::format("{}: {}", test_name(result), result.reason)));
}

std::string verdict_name(const Outcome& outcome) {
  using Kind = Outcome::Kind;
  switch (outcome.kind) {
    case Kind::kPoweroff:
      return "poweroff";
    case Kind::kReset:
      return "reset";
    case Kind::kDebugExit:
      return "debug-exit";
    case Kind::kCommand:
      return outcome.exit_code == exit_code::kClean ? "pass" : "fail";
    case Kind::kNoVerdict:
      return "no-verdict";
    case Kind::kOffence:
      return "offence";
    case Kind::kPanic:
      return outcome.exit_code == exit_code::kNoRoot     ? "no-root"
             : outcome.exit_code == exit_code::kInitDied ? "init-died"
                                                         : "panic";
    case Kind::kTripleFault:
      return "triple-fault";
    case Kind::kKvmError:
      return "kvm-error";
    case Kind::kHung:
      return "hang";
    case Kind::kTimeout:
      return "timeout";
    case Kind::kQuit:
      return "quit";
    case Kind::kTerminated:
      return "terminated";
    case Kind::kHostTrouble:
      break;
  }
  return "error";
}

void ReportConfig::check() const {
  if (!json.empty()) NewFile::check("--result", json);
  if (!junit.empty()) NewFile::check("--junit", junit);
}

void ReportConfig::write(const RunResult& result) const {
  if (!json.empty()) write_whole_file(json, to_json(result));
  if (!junit.empty()) write_whole_file(junit, to_junit(result));
  if (github) print(to_github(result));
  if (tap) print(to_tap(result));
}

int ReportConfig::exit_code(const Outcome& outcome) const {
  using Kind = Outcome::Kind;
  // crosvm's: CommandStatus in src/crosvm/sys.
  constexpr int kVmReset = 32, kVmCrash = 33, kGuestPanic = 34, kWatchdogReset = 36;
  const int code = outcome.exit_code;
  switch (exit_style) {
    case ExitStyle::kSimple:
      return code >= vmm::exit_code::kPanic && code <= vmm::exit_code::kReset ? 1 : code;
    case ExitStyle::kCrosvm:
      switch (outcome.kind) {
        case Kind::kReset:
          return kVmReset;
        case Kind::kTripleFault:
        case Kind::kKvmError:
        case Kind::kNoVerdict:
          return kVmCrash;
        case Kind::kPanic:
        case Kind::kOffence:
          return kGuestPanic;
        case Kind::kHung:
        case Kind::kTimeout:
          return kWatchdogReset;
        default:
          return code;
      }
    case ExitStyle::kVmm:
      break;
  }
  return code;
}

std::string shell_line(const std::vector<std::string>& words) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  std::string line;
  for (const std::string& word : words) {
    if (!line.empty()) line += ' ';
    if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) {
      line += word;
      continue;
    }
    line += '\'';
    for (const char c : word) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += '\'';
  }
  return line;
}

}  // namespace vmm
