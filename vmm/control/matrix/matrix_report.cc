// The forms of a matrix's results; see matrix_report.h.
#include "vmm/control/matrix/matrix_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <nlohmann/json.hpp>
#include <utility>

#include "vmm/control/verdict/junit.h"
#include "vmm/control/verdict/result.h"
#include "vmm/machine/outcome.h"

namespace vmm {

namespace {

using Status = MatrixResult::Status;

constexpr std::array<std::pair<Status, std::string_view>, 5> kNames{{{Status::kPassed, "passed"},
                                                                     {Status::kFlaky, "flaky"},
                                                                     {Status::kFailed, "FAILED"},
                                                                     {Status::kError, "error"},
                                                                     {Status::kNotRun, "not run"}}};

bool ended_badly(const MatrixResult& result) {
  return result.status == Status::kFailed || result.status == Status::kError;
}

// Every attempt's verdict, for nothing is hidden: "panic, pass".
std::string verdicts(const MatrixResult& result) {
  std::string text;
  for (const TestAttempt& attempt : result.attempts) text += (text.empty() ? "" : ", ") + attempt.verdict;
  return text.empty() ? "-" : text;
}

// One printable line of text in which a guest may have had a part.
std::string one_line(std::string_view text) {
  std::string out;
  for (const char c : text) out += static_cast<unsigned char>(c) < ' ' || c == '\x7f' ? ' ' : c;
  return out;
}

std::string reproduce(const MatrixResult& result) { return "vmm " + shell_line(result.run->words); }

std::string details(const MatrixResult& result, const TestAttempt& attempt) {
  std::string text;
  for (const std::string& line : attempt.last_log) text += line + "\n";
  return text + fmt::format("output: {}\nreproduce: {}\n", attempt.folder, reproduce(result));
}

}  // namespace

std::string_view status_name(MatrixResult::Status status) {
  return std::ranges::find(kNames, status, &std::pair<Status, std::string_view>::first)->second;
}

std::string result_line(const MatrixResult& result) {
  const std::string_view name = result.status == Status::kPassed ? "ok" : status_name(result.status);
  if (result.attempts.empty()) return fmt::format("{:<7} {}\n", name, result.run->name);
  return fmt::format("{:<7} {} ({}, {:.1f} s)\n", name, result.run->name, verdicts(result), result.seconds());
}

std::string retry_line(const MatrixRun& run, const TestAttempt& attempt) {
  return fmt::format("{:<7} {} ({}, {:.1f} s)\n", "retry", run.name, attempt.verdict, attempt.seconds);
}

std::string summary(const std::vector<MatrixResult>& results) {
  size_t width = 4;
  for (const MatrixResult& result : results) width = std::max(width, result.run->name.size());
  std::string text = fmt::format("\n{:<{}}  {:<7}  {:>8}  {}\n", "test", width, "result", "seconds", "verdicts");
  for (const MatrixResult& result : results) {
    text += fmt::format("{:<{}}  {:<7}  {:>8.1f}  {}\n", result.run->name, width, status_name(result.status),
                        result.seconds(), verdicts(result));
  }
  for (const MatrixResult& result : results) {
    if (!ended_badly(result) && result.status != Status::kFlaky) continue;
    const auto bad = std::ranges::find_if(result.attempts.rbegin(), result.attempts.rend(),
                                          [](const TestAttempt& attempt) { return !attempt.passed(); });
    text += fmt::format("\n{} {}: {}: {}\n  output: {}\n  reproduce: {}\n", status_name(result.status),
                        result.run->name, bad->verdict, one_line(bad->reason), bad->folder, reproduce(result));
  }
  text += '\n';
  std::string totals;
  for (const auto& [status, name] : kNames) {
    const auto count = std::ranges::count(results, status, &MatrixResult::status);
    if (count > 0)
      totals += fmt::format("{}{} {}", totals.empty() ? "" : ", ", count, status == Status::kFailed ? "failed" : name);
  }
  return text + fmt::format("{} test{}: {}\n", results.size(), results.size() == 1 ? "" : "s", totals);
}

std::string to_json(const std::vector<MatrixResult>& results) {
  nlohmann::ordered_json json;
  for (const auto& [status, name] : kNames) {
    std::string key = status == Status::kFailed ? "failed" : status == Status::kNotRun ? "not_run" : std::string(name);
    json[key] = std::ranges::count(results, status, &MatrixResult::status);
  }
  json["tests"] = nlohmann::ordered_json::array();
  for (const MatrixResult& result : results) {
    nlohmann::ordered_json& test = json["tests"].emplace_back();
    test["name"] = result.run->name;
    test["result"] = result.status == Status::kFailed ? "failed" : status_name(result.status);
    test["attempts"] = nlohmann::ordered_json::array();
    for (const TestAttempt& attempt : result.attempts) {
      nlohmann::ordered_json& entry = test["attempts"].emplace_back();
      entry["verdict"] = attempt.verdict;
      entry["reason"] = attempt.reason;
      entry["exit"] = attempt.exit_code;
      entry["t"] = attempt.seconds;
      entry["output"] = attempt.folder;
      for (const TapCase& one : attempt.cases) {
        nlohmann::ordered_json& of_case = entry["cases"].emplace_back();
        of_case["name"] = one.name;
        of_case["status"] = status_name(one.status);
        if (!one.reason.empty()) of_case["reason"] = one.reason;
      }
    }
    test["reproduce"] = reproduce(result);
  }
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string to_junit(const std::vector<MatrixResult>& results) {
  std::vector<JunitCase> cases;
  double seconds = 0;
  for (const MatrixResult& result : results) {
    JunitCase test{.classname = "vmm", .name = result.run->name, .seconds = result.seconds()};
    if (result.status == Status::kNotRun) test.skipped = "not run";
    for (const TestAttempt& attempt : result.attempts) {
      if (attempt.passed()) continue;
      const bool error = attempt.exit_code == exit_code::kHostTrouble;
      const bool first = test.troubles.empty();
      std::string element = result.status == Status::kFlaky   ? error ? "flakyError" : "flakyFailure"
                            : !first                          ? error ? "rerunError" : "rerunFailure"
                            : result.status == Status::kError ? "error"
                                                              : "failure";
      test.troubles.push_back({std::move(element), attempt.verdict, attempt.reason, details(result, attempt)});
    }
    seconds += test.seconds;
    cases.push_back(std::move(test));
    if (result.attempts.empty()) continue;
    for (JunitCase& inner : tap_cases(result.run->name, result.attempts.back().cases))
      cases.push_back(std::move(inner));
  }
  return junit_document("vmm test", seconds, cases);
}

std::string to_tap(const MatrixResult& result, size_t number) {
  const bool ok = result.status == Status::kPassed || result.status == Status::kFlaky;
  std::string text = tap_line(
      0, number, {.name = result.run->name, .status = ok ? TapCase::Status::kPassed : TapCase::Status::kFailed});
  if (result.status == Status::kPassed) return text;
  text += tap_comment(fmt::format("{}: {}", status_name(result.status), verdicts(result)));
  if (!ended_badly(result)) return text;
  return text + tap_comment(fmt::format("{}\noutput: {}\nreproduce: {}", one_line(result.attempts.back().reason),
                                        result.attempts.back().folder, reproduce(result)));
}

int exit_code_of(const std::vector<MatrixResult>& results, std::optional<int> signal) {
  if (signal) return *signal == SIGINT || *signal == SIGQUIT ? exit_code::kQuit : exit_code::kTerminated;
  const auto any = [&](Status status) {
    return std::ranges::find(results, status, &MatrixResult::status) != results.end();
  };
  if (any(Status::kFailed)) return exit_code::kTestsFailed;
  return any(Status::kError) || any(Status::kNotRun) ? exit_code::kHostTrouble : exit_code::kClean;
}

}  // namespace vmm
