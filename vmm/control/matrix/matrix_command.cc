// Reading the words of `vmm test`, and showing how it goes; see matrix_command.h.
#include "vmm/control/matrix/matrix_command.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <utility>

#include "vmm/control/cli/foreign_flags.h"
#include "vmm/control/cli/run_flags.h"
#include "vmm/control/matrix/matrix_report.h"
#include "vmm/control/matrix/matrix_runner.h"
#include "vmm/control/verdict/result.h"
#include "vmm/core/error.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/new_file.h"
#include "vmm/core/standard_output.h"

namespace vmm {

namespace {

constexpr const char* kDefaultFile = "vmm.toml";

constexpr std::string_view kHelp =
    R"(vmm test: run commands on kernels in configurations, each with each, and list every verdict

  vmm test [vmm.toml] [flags] [-- CMD]        CMD in place of the file's commands
  vmm test --kernel A --kernel B -- make check

Any flag of `vmm run` about the machine, its guest and its end holds for every test, over what the file
says (lists get longer); --kernel may be repeated, in place of the file's kernels.

  --jobs N               as many tests at a time [as there are CPUs]
  --host-cpus N          and no more virtual CPUs than this among them [the host's]
  --host-mem SIZE        nor more memory [what is available]
  --retries N            try again what does not pass; a pass is then listed as flaky [0]
  --output DIR           a folder for each test: stdout, stderr, console.log, result.json [vmm-test]
  --result F, --junit F  all results as JSON, as JUnit
  --tap                  TAP on standard output, as tests end; the rest goes to standard error

The file, whose paths are relative to where vmm starts:

  mem = "512M"                      # flags of `vmm run`, for all
  disk = ["rootfs.img,ephemeral"]   # lists for what may be repeated
  timeout = 60                      # an hour, where none is given
  [[kernel]]
  name = "6.1"
  kernel = "/boot/vmlinuz-6.1"
  [[config]]
  name = "smp"
  cpus = 2
  [[command]]
  name = "selftests"
  run = "cd /srv && ./run.sh"       # for sh -c, or a list of words
  expect-tap = true
  [run]
  retries = 1                       # and jobs, host-cpus, host-mem

Exit status: 0 all passed, flaky ones too; 1 some failed; 125 none failed, but vmm or the host failed some,
or it could not start; 130 Ctrl-C, 143 SIGTERM (once: guests end cleanly; twice: at once).
)";

unsigned parse_count(std::string_view flag, const std::string& text, unsigned least,
                     unsigned most = unsigned{std::numeric_limits<int>::max()}) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < least || number > most) {
    throw Error(fmt::format("{}: '{}' is no number of at least {}, and at most {}", flag, text, least, most),
                fmt::format("{} 2", flag));
  }
  return number;
}

// Takes one of the runner's own flags; false when it is none.
bool take_own_flag(MatrixCommand& command, const std::string& flag, const std::string& value) {
  if (flag == "--jobs") {
    command.options.jobs = parse_count(flag, value, 1);
  } else if (flag == "--retries") {
    command.options.retries = parse_count(flag, value, 0, MatrixOptions::kMostRetries);
  } else if (flag == "--host-cpus") {
    command.options.host_cpus = parse_count(flag, value, 1);
  } else if (flag == "--host-mem") {
    command.options.host_memory = parse_size(flag, value);
  } else if (flag == "--output" && !value.empty()) {
    command.output = value;
  } else if (flag == "--result" && !value.empty()) {
    command.json = value;
  } else if (flag == "--junit" && !value.empty()) {
    command.junit = value;
  } else {
    return false;
  }
  return true;
}

bool is_own_flag(std::string_view flag) {
  constexpr std::string_view kOwn[] = {"--jobs",   "--retries", "--host-cpus", "--host-mem",
                                       "--output", "--result",  "--junit"};
  return std::ranges::find(kOwn, flag) != std::end(kOwn);
}

void take_run_flag(MatrixCommand& command, const std::string& flag, const std::string& value) {
  const std::string name = flag.substr(2);
  if (name == "kernel") return command.kernels.push_back(value);
  std::vector<std::string>& values = command.settings[name];
  if (!is_list_flag(name)) values.clear();
  values.push_back(value);
}

// A kernel's path as a test's name, unlike those before it.
std::string kernel_name(const std::string& path, const std::vector<TestAxisEntry>& before) {
  std::string name;
  for (const char c : path) name += is_test_name(std::string("x") + c) ? c : '-';
  name.erase(0, std::min(name.size(), name.find_first_not_of("-.")));
  constexpr size_t kMost = 48;
  if (name.size() > kMost) name.erase(0, name.size() - kMost);
  name.erase(0, std::min(name.size(), name.find_first_not_of("-.")));
  if (name.empty()) name = "kernel";
  std::string unique = name;
  for (size_t i = 2; std::ranges::find(before, unique, &TestAxisEntry::name) != before.end(); ++i) {
    unique = fmt::format("{}-{}", name, i);
  }
  return unique;
}

// Standard output is print()'s, which remembers what could not be written; standard error has no such reader.
void say(std::FILE* out, std::string_view text) {
  out == stdout ? print(text) : static_cast<void>(std::fwrite(text.data(), 1, text.size(), out));
}

void flush(std::FILE* out) { out == stdout ? flush_print() : static_cast<void>(std::fflush(out)); }

// Lines as tests end; at a terminal, below them one that shows what is under way.
class Progress {
 public:
  Progress(EventLoop& loop, std::FILE* out, size_t total)
      : out_(out), total_(total), timer_(loop, [this] { refresh(); }) {
    const char* terminal = std::getenv("TERM");
    live_ = ::isatty(::fileno(out)) != 0 && terminal != nullptr && std::string_view(terminal) != "dumb";
  }

  void watch(const MatrixRunner& runner) {
    runner_ = &runner;
    refresh();
  }
  void print(std::string_view line, bool ended) {
    if (ended) ++done_;
    clear();
    say(out_, line);
    refresh();
  }
  void clear() {
    if (live_) say(out_, "\r\x1b[K");
  }

 private:
  void refresh() {
    if (live_ && runner_ != nullptr) {
      std::string line = fmt::format("[{}/{}]", done_, total_);
      for (const std::string& name : runner_->running()) line += " " + name;
      winsize size{};
      const size_t columns = ::ioctl(::fileno(out_), TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
      line.resize(std::min(line.size(), columns - 1));
      clear();
      say(out_, line);
      timer_.start(std::chrono::seconds(1));
    }
    flush(out_);
  }

  std::FILE* out_;
  size_t total_;
  size_t done_ = 0;
  bool live_ = false;
  const MatrixRunner* runner_ = nullptr;
  Timer timer_;
};

void write_reports(const MatrixCommand& command, const std::vector<MatrixResult>& results) {
  if (!command.json.empty()) write_whole_file(command.json, to_json(results));
  if (!command.junit.empty()) write_whole_file(command.junit, to_junit(results));
}

MatrixFile file_of(const MatrixCommand& command) {
  if (command.file) return read_test_file(*command.file);
  std::error_code error;
  if (std::filesystem::exists(kDefaultFile, error)) return read_test_file(kDefaultFile);
  if (!command.words.empty() || !command.kernels.empty()) return {};
  throw Error("there is nothing to test: no ./vmm.toml, no kernel and no command",
              "vmm test --kernel bzImage -- uname -a; vmm test --help shows a vmm.toml");
}

}  // namespace

std::string_view test_help_text() { return kHelp; }

MatrixFile MatrixCommand::merged_into(MatrixFile from) const {
  if (!words.empty()) from.commands = {{.words = words}};
  if (!kernels.empty()) {
    from.kernels.clear();
    for (const std::string& kernel : kernels) {
      from.kernels.push_back({.name = kernels.size() == 1 ? std::string() : kernel_name(kernel, from.kernels),
                              .settings = {{"kernel", {kernel}}}});
    }
  }
  if (options.jobs) from.options.jobs = options.jobs;
  if (options.retries) from.options.retries = options.retries;
  if (options.host_cpus) from.options.host_cpus = options.host_cpus;
  if (options.host_memory) from.options.host_memory = options.host_memory;
  return from;
}

MatrixCommand parse_test_command(const std::vector<std::string>& arguments) {
  MatrixCommand command;
  for (auto at = arguments.begin(); at != arguments.end(); ++at) {
    if (*at == "--") {
      command.words.assign(at + 1, arguments.end());
      if (command.words.empty()) throw Error("there is no command after '--'", "vmm test ... -- uname -a");
      break;
    }
    if (!at->starts_with('-')) {
      if (command.file) throw Error(fmt::format("'{}' is one file too many", *at), "vmm test FILE ... -- CMD");
      command.file = *at;
      continue;
    }
    const size_t equals = at->find('=');
    const std::string flag = at->substr(0, equals);
    const bool is_run_flag = flag.starts_with("--") && is_test_flag(flag.substr(2));
    if (flag == "--help" || flag == "-h") {
      command.help = true;
    } else if (*at == "--tap") {
      command.tap = true;
    } else if (is_run_flag && !run_flag_takes_value(flag.substr(2)).value_or(true)) {
      if (equals != std::string::npos) throw Error(fmt::format("{} takes no value", flag), flag);
      take_run_flag(command, flag, "");
    } else if (is_run_flag || is_own_flag(flag)) {
      if (equals == std::string::npos && (at + 1 == arguments.end() || *(at + 1) == "--")) {
        throw Error(fmt::format("{} needs a value", flag), "vmm test --help");
      }
      const std::string value = equals == std::string::npos ? *++at : at->substr(equals + 1);
      if (is_run_flag) {
        take_run_flag(command, flag, value);
      } else if (!take_own_flag(command, flag, value)) {
        throw Error(fmt::format("{} needs a name", flag), fmt::format("{} NAME", flag));
      }
    } else if (flag.starts_with("--") && run_flag_takes_value(flag.substr(2))) {
      throw Error(fmt::format("{} is not for vmm test", flag), "leave it out; vmm test --help lists what there is");
    } else {
      throw refuse_flag(*at);
    }
  }
  return command;
}

int run_tests(const MatrixCommand& command) {
  std::FILE* people = command.tap ? stderr : stdout;
  if (command.help) {
    print(kHelp);
    return 0;
  }
  const MatrixFile file = command.merged_into(file_of(command));
  const std::vector<MatrixRun> runs = plan_runs(file, command.settings);
  const TestBudget budget = TestBudget::of(file.options);
  budget.check(runs);
  // Whether they can be written is better known before than after; and nobody takes yesterday's for today's.
  std::vector<MatrixResult> results;
  results.reserve(runs.size());
  for (const MatrixRun& run : runs) results.push_back({.run = &run});
  write_reports(command, results);

  EventLoop loop;
  Progress progress(loop, people, runs.size());
  size_t ended = 0;
  if (command.tap) {
    print(fmt::format("TAP version 14\n1..{}\n", runs.size()));
    flush_print();
  }
  MatrixRunner runner(loop, runs,
                      {.budget = budget, .retries = file.options.retries.value_or(0), .output = command.output},
                      {.on_retry = [&](const MatrixRun& run,
                                       const TestAttempt& attempt) { progress.print(retry_line(run, attempt), false); },
                       .on_result =
                           [&](const MatrixResult& result) {
                             progress.print(result_line(result), true);
                             if (!command.tap) return;
                             print(to_tap(result, ++ended));
                             flush_print();
                           }});
  progress.watch(runner);
  results = runner.run();
  progress.clear();
  if (command.tap && runner.signal()) print("Bail out! ended by a signal\n");
  say(people, summary(results));
  flush(people);
  write_reports(command, results);
  return exit_code_of(results, runner.signal());
}

}  // namespace vmm
