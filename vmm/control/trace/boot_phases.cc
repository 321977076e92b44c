// Two clocks and a few known lines; see boot_phases.h.
#include "vmm/control/trace/boot_phases.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace vmm {

namespace {

// Printed just before do_basic_setup() calls the first of them (with CONFIG_SMP), or by the first.
constexpr std::array<std::string_view, 3> kFirstInitcalls{"smp: Brought up", "devtmpfs: initialized",
                                                          "clocksource: jiffies:"};
// kernel_init(), when they are over: free_initmem(), then run_init_process().
constexpr std::string_view kFreeing = "Freeing unused kernel ";
constexpr std::string_view kRun = "Run ", kAsInit = " as init process";

void take_earlier(std::optional<double>& moment, double value) { moment = std::min(moment.value_or(value), value); }

struct Stamped {
  double stamp;
  std::string_view text;
};

// printk.time, and perhaps printk.caller: "[    1.234567][    T1] text".
std::optional<Stamped> take_apart(std::string_view line) {
  if (!line.starts_with('[')) return std::nullopt;
  const size_t digits = line.find_first_not_of(' ', 1);
  if (digits == std::string_view::npos) return std::nullopt;
  double stamp = 0;
  const auto [end, error] = std::from_chars(line.data() + digits, line.data() + line.size(), stamp);
  if (error != std::errc() || !std::isfinite(stamp) || stamp < 0) return std::nullopt;
  line.remove_prefix(static_cast<size_t>(end - line.data()));
  const size_t text = line.find("] ");
  if (!line.starts_with(']') || text == std::string_view::npos) return std::nullopt;
  return Stamped{stamp, line.substr(text + 2)};
}

// Adds phases one behind the other.
class Sequence {
 public:
  void until(double moment, std::string name, std::string why) {
    const double end = std::max(moment, at_);
    phases.push_back({.name = std::move(name), .start = at_, .seconds = end - at_, .until = std::move(why)});
    at_ = end;
  }

  std::vector<RunTrace::Phase> phases;

 private:
  double at_ = 0;
};

}  // namespace

void BootLog::console_line(std::string_view text, double now) {
  const auto found = take_apart(text);
  if (!found || found->stamp > now) return;
  take_earlier(clock_start_, now - found->stamp);
  line(found->stamp, found->text);
}

void BootLog::line(double stamp, std::string_view text) {
  last_ = std::max(last_.value_or(stamp), stamp);
  const auto begins = [text](std::string_view words) { return text.starts_with(words); };
  if (std::ranges::any_of(kFirstInitcalls, begins)) take_earlier(initcalls_, stamp);
  if (tells_of_init(text)) take_earlier(init_, stamp);
}

bool tells_of_init(std::string_view line) {
  if (const auto stamped = take_apart(line)) line = stamped->text;
  return line.starts_with(kFreeing) || (line.starts_with(kRun) && line.ends_with(kAsInit));
}

std::vector<RunTrace::Phase> boot_phases(const BootMoments& moments, const BootLog& log,
                                         std::vector<std::string>& notes) {
  Sequence run;
  const auto rest = [&](const char* name) {
    run.until(moments.stop, name, "the guest's end");
    run.until(moments.end, "stop", "the end: devices at rest, disks flushed, the end explained");
    return run.phases;
  };
  run.until(moments.first_entry, "load", "the first KVM_RUN");
  if (!moments.kernel_exit && !log.clock_start()) {
    notes.emplace_back(
        "phases of the guest: no exit came out of a Linux kernel's code, and no console showed its log: nothing tells "
        "when it began");
    return rest("guest");
  }

  double clock_start = moments.stop;
  std::string how;
  const auto consider = [&](std::optional<double> moment, const char* why) {
    if (!moment || *moment >= clock_start) return;
    clock_start = std::max(*moment, moments.first_entry);
    how = why;
  };
  consider(moments.kernel_exit, "the first exit out of kernel code");
  consider(log.clock_start(), "the kernel's clock 0, by the console line that came soonest after its stamp");
  if (log.last()) consider(moments.stop - *log.last(), "the kernel's clock 0, by the last line of its log");
  run.until(clock_start, moments.compressed ? "decompress" : "entry", how);
  if (!moments.compressed) notes.emplace_back("decompress: the kernel was not compressed");
  if (log.initcalls()) {
    run.until(std::min(clock_start + *log.initcalls(), moments.stop), "start_kernel",
              fmt::format("[{:.6f}] in the log: the first initcall", *log.initcalls()));
  }
  const double start_of_init = clock_start + log.init().value_or(0);
  if (!log.init() || start_of_init > moments.stop) {
    notes.emplace_back(log.last() ? "init: the log has no line that says that it was started"
                                  : "start_kernel, initcalls, init: the kernel's log was not found, so they are one");
    return rest(log.initcalls() ? "initcalls" : "kernel");
  }
  if (!log.initcalls())
    notes.emplace_back("initcalls: the log has no line of the first of them: start_kernel has them");
  run.until(start_of_init, log.initcalls() ? "initcalls" : "start_kernel",
            fmt::format("[{:.6f}] in the log: init is started", *log.init()));
  if (!moments.command_start) return rest("init");
  run.until(std::min(*moments.command_start, moments.stop), "init", "the command was started");
  return rest("command");
}

}  // namespace vmm
