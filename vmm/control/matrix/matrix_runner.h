// MatrixRunner: the runs of a plan as processes of their own, as many at a time as the budget has room for.
//
// Each is `vmm run ... --result FILE`, so that none can hurt another, with a folder for what it prints. Only that file
// says that a test has passed: a process that leaves none, or another than its status says, has not. A run that does
// not pass is tried again as often as the options say, and every attempt is kept. A signal ends all of them, first
// kindly; they end too when this process does.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vmm/control/matrix/matrix_plan.h"
#include "vmm/control/verdict/tap.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/fd.h"

namespace vmm {

struct TestAttempt {
  std::string verdict;  // of the result: "pass", "panic", ...; "error" when vmm or the host failed
  std::string reason;
  int exit_code = 0;
  double seconds = 0;  // from start to end of the process
  std::string folder;
  std::vector<TapCase> cases;
  std::vector<std::string> last_log;

  bool passed() const { return exit_code == 0; }
};

struct MatrixResult {
  // kFlaky: it passed, but not at once. kError: none of the guest's fault. kNotRun: ended by a signal, or never begun.
  enum class Status { kPassed, kFlaky, kFailed, kError, kNotRun };

  const MatrixRun* run = nullptr;
  std::vector<TestAttempt> attempts;
  Status status = Status::kNotRun;

  double seconds() const;
};

// What an ended process says with its wait status and the text of its result file.
TestAttempt judge_attempt(int wait_status, const std::optional<std::string>& result);

class MatrixRunner {
 public:
  struct Options {
    TestBudget budget;
    unsigned retries = 0;
    std::string output;  // a folder
    std::string program = "/proc/self/exe";
    std::chrono::milliseconds grace{15'000};     // between asking a process to end and ending it
    std::chrono::milliseconds overtime{30'000};  // beyond the time that it keeps by itself
  };
  struct Events {
    std::function<void(const MatrixRun&, const TestAttempt&)> on_retry;  // this attempt failed, there will be another
    std::function<void(const MatrixResult&)> on_result;
  };

  // Blocks the signals it listens to. Throws Error when the folder cannot be used. `runs` outlive it.
  MatrixRunner(EventLoop& loop, const std::vector<MatrixRun>& runs, Options options, Events events);
  MatrixRunner(const MatrixRunner&) = delete;
  MatrixRunner& operator=(const MatrixRunner&) = delete;
  ~MatrixRunner();

  // Runs the loop until all is done. The results are in the order of the plan.
  std::vector<MatrixResult> run();
  // The signal that ended it.
  std::optional<int> signal() const { return signal_; }
  // Names of the tests that run now.
  std::vector<std::string> running() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Child;

  void start_what_fits();
  bool fits(const MatrixRun& run) const;
  void start(MatrixResult& result);
  void child_ended(Child& child);
  void take(MatrixResult& result, TestAttempt attempt);
  void on_signal();
  void stop_all(int number);

  EventLoop& loop_;
  Options options_;
  Events events_;
  UniqueFd folder_;  // locked, so that nobody else writes there
  UniqueFd signals_;
  FdWatch signal_watch_;
  Timer grace_;
  std::vector<MatrixResult> results_;
  std::list<MatrixResult*> waiting_;
  std::list<Child> children_;
  std::optional<int> signal_;
};

}  // namespace vmm
