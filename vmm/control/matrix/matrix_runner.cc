// Processes, their budget and what they leave; see matrix_runner.h.
#include "vmm/control/matrix/matrix_runner.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "vmm/core/error.h"
#include "vmm/core/signals.h"
#include "vmm/machine/outcome.h"

namespace vmm {

namespace {

constexpr size_t kMaxResult = size_t{16} << 20;

TestAttempt trouble(std::string reason) {
  return {.verdict = "error", .reason = std::move(reason), .exit_code = exit_code::kHostTrouble};
}

// The end of a file, or all of a small one.
std::optional<std::string> read_file(const std::string& path, size_t limit) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return std::nullopt;
  const off_t size = ::lseek(fd.get(), 0, SEEK_END);
  if (size < 0) return std::nullopt;
  const auto length = std::min(static_cast<size_t>(size), limit);
  std::string text(length, '\0');
  const ssize_t got = ::pread(fd.get(), text.data(), length, size - static_cast<off_t>(length));
  if (got < 0) return std::nullopt;
  text.resize(static_cast<size_t>(got));
  return text;
}

// What vmm itself said last: "vmm: what: why".
std::string last_complaint(const std::string& path) {
  const std::string text = read_file(path, 4096).value_or("");
  const size_t begin = text.rfind("vmm: ");
  if (begin == std::string::npos || (begin > 0 && text[begin - 1] != '\n')) return {};
  return text.substr(begin + 5, text.find('\n', begin) - begin - 5);
}

void read_result(const std::string& text, TestAttempt& attempt) {
  const auto json = nlohmann::json::parse(text);
  attempt.verdict = json.at("verdict").get<std::string>();
  attempt.reason = json.at("reason").get<std::string>();
  attempt.exit_code = json.at("exit").get<int>();
  attempt.last_log = json.at("last_log").get<std::vector<std::string>>();
  if (!json.contains("cases")) return;
  for (const auto& entry : json.at("cases")) {
    const auto status = status_of_name(entry.at("status").get<std::string>());
    attempt.cases.push_back({.name = entry.at("name").get<std::string>(),
                             .status = status.value_or(TapCase::Status::kFailed),
                             .reason = entry.value("reason", "")});
  }
}

UniqueFd open_folder(const std::string& path) {
  const auto refuse = [&](std::string_view why) {
    throw Error(fmt::format("cannot use the folder '{}': {}", path, why), "name another with --output");
  };
  if (path.find(',') != std::string::npos) refuse("a comma cannot be part of a console's path");
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) refuse(error.message());
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) refuse(errno_text(errno));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) < 0) refuse("another vmm test writes there");
  return fd;
}

std::string retry_folder(const std::string& folder, size_t retry) { return fmt::format("{}/retry-{}", folder, retry); }

// What an earlier `vmm test` left of this test, its retries included; nothing else.
void clean_folder(const std::string& folder) {
  for (const char* name : {"result.json", "stdout", "stderr", "console.log"}) {
    ::unlink((folder + "/" + name).c_str());
  }
  for (size_t retry = 1;; ++retry) {
    const std::string earlier = retry_folder(folder, retry);
    if (::access(earlier.c_str(), F_OK) < 0) break;
    clean_folder(earlier);
    ::rmdir(earlier.c_str());  // unless somebody keeps something there
  }
}

// In the child: only what is safe after fork(). In a session of its own it neither gets the terminal's Ctrl-C, which is
// ours to pass on, nor can it touch the terminal.
[[noreturn]] void become(const char* program, char* const* arguments, pid_t parent, int in, int out, int err) {
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  ::signal(SIGTERM, SIG_DFL);  // by which it is stopped
  sigset_t none;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  if (::getppid() != parent) ::_exit(exit_code::kHostTrouble);
  ::dup2(in, STDIN_FILENO);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(err, STDERR_FILENO);
  ::execv(program, arguments);
  ::_exit(exit_code::kHostTrouble);
}

}  // namespace

double MatrixResult::seconds() const {
  double sum = 0;
  for (const TestAttempt& attempt : attempts) sum += attempt.seconds;
  return sum;
}

TestAttempt judge_attempt(int wait_status, const std::optional<std::string>& result) {
  if (!WIFEXITED(wait_status)) {
    const char* name = ::sigabbrev_np(WTERMSIG(wait_status));
    return trouble(fmt::format("vmm was killed by {}{}", name != nullptr ? "SIG" : "signal ",
                               name != nullptr ? name : std::to_string(WTERMSIG(wait_status))));
  }
  const int status = WEXITSTATUS(wait_status);
  if (!result) return trouble(fmt::format("vmm ended with status {} and left no result", status));
  TestAttempt attempt;
  try {
    read_result(*result, attempt);
  } catch (const nlohmann::json::exception&) {
    return trouble("the result that vmm left cannot be read");
  }
  if (attempt.exit_code == status) return attempt;
  return trouble(fmt::format("vmm ended with status {}, but its result says {}", status, attempt.exit_code));
}

struct MatrixRunner::Child {
  Child(MatrixRunner& runner, MatrixResult& of, pid_t id, UniqueFd fd, std::string where)
      : result(of),
        pid(id),
        folder(std::move(where)),
        started(Clock::now()),
        process(std::move(fd)),
        ended(runner.loop_, process.get(), FdWatch::Event::kReadable, [this, &runner] { runner.child_ended(*this); }),
        overdue(runner.loop_, [this] {
          overran = true;
          ::kill(pid, SIGKILL);
        }) {
    ended.arm();
    if (of.run->timeout.count() > 0) overdue.start(of.run->timeout + runner.options_.overtime);
  }

  MatrixResult& result;
  pid_t pid;
  std::string folder;
  Clock::time_point started;
  UniqueFd process;  // pidfd
  FdWatch ended;
  Timer overdue;
  bool overran = false;
};

MatrixRunner::MatrixRunner(EventLoop& loop, const std::vector<MatrixRun>& runs, Options options, Events events)
    : loop_(loop),
      options_(std::move(options)),
      events_(std::move(events)),
      folder_(open_folder(options_.output)),
      signals_(open_signals({SIGTERM, SIGINT, SIGQUIT, SIGHUP})),
      signal_watch_(loop, signals_.get(), FdWatch::Event::kReadable, [this] { on_signal(); }),
      grace_(loop, [this] { stop_all(SIGKILL); }) {
  for (const MatrixRun& run : runs) results_.push_back({.run = &run});
  for (MatrixResult& result : results_) waiting_.push_back(&result);
  signal_watch_.arm();
}

MatrixRunner::~MatrixRunner() {
  for (const Child& child : children_) {
    ::kill(child.pid, SIGKILL);
    ::waitpid(child.pid, nullptr, 0);
  }
}

std::vector<MatrixResult> MatrixRunner::run() {
  start_what_fits();
  if (!children_.empty()) loop_.run();
  return std::move(results_);
}

std::vector<std::string> MatrixRunner::running() const {
  std::vector<std::string> names;
  for (const Child& child : children_) names.push_back(child.result.run->name);
  return names;
}

bool MatrixRunner::fits(const MatrixRun& run) const {
  unsigned cpus = run.cpus;
  uint64_t memory = run.memory;
  for (const Child& child : children_) {
    cpus += child.result.run->cpus;
    memory += child.result.run->memory;
  }
  return children_.size() < options_.budget.jobs && cpus <= options_.budget.cpus && memory <= options_.budget.memory;
}

// A small one may overtake a large one that has no room yet.
void MatrixRunner::start_what_fits() {
  do {
    for (auto next = waiting_.begin(); next != waiting_.end();) {
      if (signal_ || !fits(*(*next)->run)) {
        ++next;
        continue;
      }
      MatrixResult& result = **next;
      next = waiting_.erase(next);
      start(result);
    }
    // One that could not even be started may be waiting for its next attempt.
  } while (children_.empty() && !waiting_.empty() && !signal_);
}

void MatrixRunner::start(MatrixResult& result) {
  const MatrixRun& run = *result.run;
  std::string folder = options_.output + "/" + run.name;
  if (!result.attempts.empty()) folder = retry_folder(folder, result.attempts.size());
  const auto fail = [&](const std::string& why) {
    TestAttempt attempt = trouble(why);
    attempt.folder = folder;
    take(result, std::move(attempt));
  };
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return fail(fmt::format("cannot make '{}': {}", folder, error.message()));
  clean_folder(folder);

  std::vector<std::string> words{"vmm"};
  words.insert(words.end(), run.words.begin(), run.words.end());
  std::vector<std::string> ours{"--result=" + folder + "/result.json"};
  if (!run.has_serial) ours.push_back("--serial=null,log=" + folder + "/console.log");
  words.insert(words.begin() + 2, ours.begin(), ours.end());  // behind "vmm run"
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  const UniqueFd in(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const auto open_output = [&](const char* name) {
    return UniqueFd(::open((folder + "/" + name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644));
  };
  const UniqueFd out = open_output("stdout"), err = open_output("stderr");
  if (!in || !out || !err) return fail(fmt::format("cannot write to '{}': {}", folder, errno_text(errno)));
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become(options_.program.c_str(), argv.data(), parent, in.get(), out.get(), err.get());
  if (pid < 0) return fail("cannot start a process: " + errno_text(errno));
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) {
    const int why = errno;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return fail("cannot watch a process: " + errno_text(why));
  }
  children_.emplace_back(*this, result, pid, std::move(process), folder);
}

void MatrixRunner::child_ended(Child& child) {
  int status = 0;
  // Where the host has no descriptor left to watch it, it is asked now and then.
  const pid_t reaped = ::waitpid(child.pid, &status, WNOHANG);
  if (reaped == 0 || (reaped < 0 && errno == EINTR)) return child.ended.arm();
  TestAttempt attempt = judge_attempt(status, read_file(child.folder + "/result.json", kMaxResult));
  if (child.overran) attempt = trouble("vmm did not keep its own --timeout and was killed");
  if (attempt.verdict == "error") {
    const std::string said = last_complaint(child.folder + "/stderr");
    if (!said.empty() && attempt.reason.find(said) == std::string::npos) attempt.reason += ": " + said;
  }
  attempt.folder = child.folder;
  attempt.seconds = std::chrono::duration<double>(Clock::now() - child.started).count();
  MatrixResult& result = child.result;
  children_.remove_if([&](const Child& other) { return &other == &child; });
  take(result, std::move(attempt));
  start_what_fits();
  if (children_.empty() && (waiting_.empty() || signal_)) loop_.stop();
}

void MatrixRunner::take(MatrixResult& result, TestAttempt attempt) {
  using Status = MatrixResult::Status;
  const bool passed = attempt.passed();
  const bool of_host = attempt.exit_code == exit_code::kHostTrouble;
  // What a signal to us has ended has not failed.
  if (signal_ && !passed) return events_.on_result(result);
  result.attempts.push_back(std::move(attempt));
  if (!passed && result.attempts.size() <= options_.retries) {
    events_.on_retry(*result.run, result.attempts.back());
    waiting_.push_front(&result);
    return;
  }
  const bool all_of_host = of_host && std::ranges::all_of(result.attempts, [](const TestAttempt& other) {
                             return other.exit_code == exit_code::kHostTrouble;
                           });
  result.status = passed        ? result.attempts.size() > 1 ? Status::kFlaky : Status::kPassed
                  : all_of_host ? Status::kError
                                : Status::kFailed;
  events_.on_result(result);
}

void MatrixRunner::on_signal() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    const bool again = signal_.has_value();
    if (!again) signal_ = static_cast<int>(info.ssi_signo);
    stop_all(again ? SIGKILL : SIGTERM);
  }
  signal_watch_.arm();
  grace_.start(options_.grace);
}

void MatrixRunner::stop_all(int number) {
  for (const Child& child : children_) ::kill(child.pid, number);
}

}  // namespace vmm
