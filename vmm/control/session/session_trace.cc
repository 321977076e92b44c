// The trace of a session: what it notes on the way, and what it makes of it at the end. See session.h.
#include <algorithm>
#include <span>

#include "vmm/blackbox/black_box.h"
#include "vmm/control/session/session.h"

namespace vmm {

namespace {

// Before main(): as soon as code of ours runs.
const TraceClock::Clock::time_point process_start = TraceClock::Clock::now();

}  // namespace

// A run begins with the process, and anew with each boot after a reset.
void Session::begin_trace() {
  const TraceClock::Moment now = TraceClock::Moment::now();
  traced_ = Traced{.start = traced_ ? now.time : process_start, .built = now};
}

void Session::trace_console(std::string_view line) {
  traced_->log.console_line(line, std::chrono::duration<double>(Clock::now() - traced_->start).count());
}

RunTrace Session::trace() {
  const auto since_start = [this](Clock::time_point moment) {
    return std::chrono::duration<double>(moment - traced_->start).count();
  };
  const double end = since_start(Clock::now());  // what follows is the trace's own doing
  RunTrace trace;
  trace.kernel = config_.kernel;
  BootLog log = traced_->log;
  machine_->look_inside([&](const GuestMemory& memory, std::span<const CpuState> cpus) {
    const BlackBox box(memory, cpus);
    trace.release = box.release();
    trace.notes = box.troubles();
    for (const LogLine& line : box.log().lines) log.line(static_cast<double>(line.nanoseconds) / 1e9, line.text);
    const TraceClock clock(traced_->start, traced_->built, TraceClock::Moment::now());
    const std::vector<const ExitTrace*> vcpus = machine_->traces();
    add_exits(trace, vcpus, clock,
              {.device = [this](const Device* device) { return machine_->device_name(device); },
               .symbol = [&box](uint64_t rip) { return box.symbol(rip).value_or(Kallsyms::Symbol()).name; }});

    BootMoments moments{.first_entry = clock.at(vcpus.front()->begun()) / 1e9,
                        .stop = since_start(*traced_->stop),
                        .end = end,
                        .compressed = backends_.kernel.info().kind == KernelKind::kBzImage};
    for (const ExitTrace* vcpu : vcpus) {
      if (!vcpu->first_kernel_exit()) continue;
      const double moment = clock.at(*vcpu->first_kernel_exit()) / 1e9;
      moments.kernel_exit = std::min(moments.kernel_exit.value_or(moment), moment);
    }
    if (traced_->command_start) moments.command_start = since_start(*traced_->command_start);
    for (const KvmStats::Value& count : machine_->kvm_counts()) trace.kvm.push_back({count.name, count.value});
    trace.seconds = end;
    trace.phases = boot_phases(moments, log, trace.notes);
  });
  return trace;
}

}  // namespace vmm
