// The product of the axes, and what it costs; see matrix_plan.h.
#include "vmm/control/matrix/matrix_plan.h"

#include <fmt/core.h>
#include <sched.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "vmm/control/cli/command_line.h"
#include "vmm/control/cli/run_flags.h"
#include "vmm/control/matrix/cgroup_room.h"
#include "vmm/core/error.h"
#include "vmm/machine/config.h"

namespace vmm {

namespace {

constexpr size_t kMaxRuns = 10'000;
// Seconds. A matrix that nobody watches comes to its end, whatever hangs.
constexpr const char* kUsualTimeout = "3600";

// An axis that was not given has one entry, which says nothing.
std::vector<TestAxisEntry> or_nothing(const std::vector<TestAxisEntry>& axis) {
  return axis.empty() ? std::vector<TestAxisEntry>(1) : axis;
}

std::string joined(std::initializer_list<std::string> names) {
  std::string text;
  for (const std::string& name : names) {
    if (name.empty()) continue;
    if (!text.empty()) text += '/';
    text += name;
  }
  return text.empty() ? "test" : text;
}

std::vector<std::string> words_of(const RunSettings& settings, const std::vector<std::string>& command) {
  std::vector<std::string> words{"run"};
  for (const auto& [name, values] : settings) {
    for (const std::string& value : values) {
      const bool takes_value = run_flag_takes_value(name).value_or(false);
      words.push_back(takes_value ? fmt::format("--{}={}", name, value) : "--" + name);
    }
  }
  if (command.empty()) return words;
  words.emplace_back("--");
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

MatrixRun plan_run(std::string name, const RunSettings& settings, const std::vector<std::string>& command) {
  MatrixRun run{.name = std::move(name), .words = words_of(settings, command)};
  try {
    const CommandLine line = parse_command_line(run.words);
    run.cpus = line.machine.cpus;
    run.memory = line.machine.memory;
    run.timeout = line.machine.timeout;
  } catch (const Error& error) {
    throw Error(fmt::format("test '{}': {}", run.name, error.what()), error.fix());
  }
  run.has_serial = settings.contains("serial");
  return run;
}

uint64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string key; file >> key;) {
    uint64_t kib = 0;
    if (key == "MemAvailable:" && file >> kib) return std::min(kib << 10, own_cgroup_room().memory);
    file.ignore(256, '\n');
  }
  throw Error("cannot tell how much memory the host has: there is no MemAvailable in /proc/meminfo", "--host-mem 4G");
}

unsigned available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int allowed = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::min(static_cast<unsigned>(allowed), own_cgroup_room().cpus);
}

}  // namespace

RunSettings merged(RunSettings under, const RunSettings& over) {
  for (const auto& [name, values] : over) {
    std::vector<std::string>& there = under[name];
    if (!is_list_flag(name)) there.clear();
    there.insert(there.end(), values.begin(), values.end());
  }
  return under;
}

std::vector<MatrixRun> plan_runs(const MatrixFile& file, const RunSettings& over) {
  const auto kernels = or_nothing(file.kernels), configs = or_nothing(file.configs),
             commands = or_nothing(file.commands);
  // Each is bounded by the file's size, so this is no overflow.
  const size_t count = kernels.size() * configs.size() * commands.size();
  if (count > kMaxRuns) {
    throw Error(fmt::format("{} kernels, {} configurations and {} commands are {} tests, more than {}", kernels.size(),
                            configs.size(), commands.size(), count, kMaxRuns),
                "split the file");
  }
  std::vector<MatrixRun> runs;
  for (const TestAxisEntry& kernel : kernels) {
    for (const TestAxisEntry& config : configs) {
      for (const TestAxisEntry& command : commands) {
        RunSettings settings = file.settings;
        for (const RunSettings& next : {kernel.settings, config.settings, command.settings, over}) {
          settings = merged(std::move(settings), next);
        }
        settings.try_emplace("timeout", 1, kUsualTimeout);
        runs.push_back(plan_run(joined({kernel.name, config.name, command.name}), settings, command.words));
      }
    }
  }
  return runs;
}

TestBudget TestBudget::of(const MatrixOptions& options) {
  TestBudget budget;
  budget.cpus = options.host_cpus ? *options.host_cpus : available_cpus();
  budget.memory = options.host_memory ? *options.host_memory : available_memory();
  budget.jobs = options.jobs ? *options.jobs : budget.cpus;
  return budget;
}

void TestBudget::check(const std::vector<MatrixRun>& runs) const {
  for (const MatrixRun& run : runs) {
    if (run.cpus > cpus) {
      throw Error(fmt::format("test '{}' can never start: it wants {} CPUs of {}", run.name, run.cpus, cpus),
                  fmt::format("--host-cpus {} shares what there is", run.cpus));
    }
    if (run.memory > memory) {
      throw Error(fmt::format("test '{}' can never start: it wants {} of memory, and there is {}", run.name,
                              size_text(run.memory), size_text(memory >> 20 << 20)),
                  "give it less with mem, or name another budget with --host-mem");
    }
  }
}

}  // namespace vmm
