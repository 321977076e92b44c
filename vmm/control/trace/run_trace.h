// RunTrace: where the time of a run went, as a file: `--trace F` writes it when the run is over, `vmm boot-report F`
// and others read it.
//
// It is JSON, of format "vmm-trace" and version 1. Whatever is read may come from anybody, and names in it came from a
// guest: parse_trace() takes nothing that does not fit together, and text as printable ASCII only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vmm {

struct RunTrace {
  // A stretch of the run; all of them together are the run from its start to its end, without gaps.
  struct Phase {
    std::string name;  // "load", "decompress", "start_kernel", "initcalls", "init", ...
    double start = 0;  // seconds from the start of the run
    double seconds = 0;
    std::string until;  // what ended it, and how that is known
  };
  // Exits alike: those of one reason to one device out of one function of the guest.
  struct Row {
    std::string reason;  // "port write", "memory read", ...
    std::string device;  // "serial ttyS0", "port 0x80 (nothing there)", ...
    std::string symbol;  // the function of the guest
    uint64_t count = 0;
    uint64_t nanoseconds = 0;  // from the exit to its answer, all together
  };
  // One exit.
  struct Event {
    uint64_t start = 0;  // nanoseconds from the start of the run
    uint64_t nanoseconds = 0;
    uint32_t vcpu = 0;
    uint32_t row = 0;  // in rows
  };
  struct Cpu {
    uint32_t id = 0;
    uint64_t exits = 0;
    uint64_t nanoseconds = 0;
  };

  // What KVM counted, of all vCPUs together, under its own names: also the exits that it answered by itself.
  struct Count {
    std::string name;
    uint64_t value = 0;
  };

  std::string kernel;   // as it was given
  std::string release;  // of the Linux that ran; empty where none was found
  double seconds = 0;
  std::vector<Phase> phases;
  std::vector<std::string> notes;  // what could not be told, and why
  std::vector<Cpu> cpus;
  std::vector<Count> kvm;     // empty where the host does not tell
  std::vector<Row> rows;      // the most time first
  std::vector<Event> events;  // in order of each vCPU
  uint64_t events_lost = 0;   // earlier ones, for which there was no room

  uint64_t exits() const;
  uint64_t nanoseconds() const;
};

// The rows summed by one of their texts.
struct TraceSum {
  std::string name;
  uint64_t count = 0;
  uint64_t nanoseconds = 0;
};
// The most time first.
std::vector<TraceSum> sum_by(const RunTrace& trace, std::string RunTrace::Row::*text);

std::string to_json(const RunTrace& trace);
// Throws Error, which names `path`.
RunTrace parse_trace(const std::string& path, std::string_view text);
RunTrace read_trace(const std::string& path);

// The trace for Perfetto (ui.perfetto.dev) and chrome://tracing, in the Trace Event Format, phases and every vCPU a
// track each.
std::string to_perfetto(const RunTrace& trace);

}  // namespace vmm
