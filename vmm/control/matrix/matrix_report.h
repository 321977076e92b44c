// What `vmm test` says of its results: lines and a table for people, JSON, JUnit and TAP for programs.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/control/matrix/matrix_runner.h"

namespace vmm {

// "passed", "flaky", "FAILED", "error", "not run".
std::string_view status_name(MatrixResult::Status status);

// One line each, with its newline.
std::string result_line(const MatrixResult& result);
std::string retry_line(const MatrixRun& run, const TestAttempt& attempt);

// A table of all results, what to do about each that did not pass, and the totals.
std::string summary(const std::vector<MatrixResult>& results);

std::string to_json(const std::vector<MatrixResult>& results);
// Retries as Maven's Surefire writes them: flakyFailure, rerunFailure.
std::string to_junit(const std::vector<MatrixResult>& results);
// The line of the test that was the number-th to end.
std::string to_tap(const MatrixResult& result, size_t number);

// 0: all passed, if not at once; 1: some failed; 125: none did, but vmm or the host failed some; 130 or 143: a signal
// ended it.
int exit_code_of(const std::vector<MatrixResult>& results, std::optional<int> signal);

}  // namespace vmm
