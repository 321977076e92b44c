// Findings: what the black box tells of a guest that stands still, as lines for a person.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/blackbox/cpu_state.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

struct Findings {
  struct Cpu {
    unsigned id = 0;
    bool panicked = false;
    std::string doing;               // "halted in default_idle+0xb < ...", or, where it panicked, who called panic()
    std::string place;               // "default_idle+0xb", or an address; empty: not started
    std::vector<std::string> stack;  // from there to its callers; empty without symbols
  };
  struct Panic {
    std::string reason;
    double seconds = 0;  // on the kernel's clock
  };

  // `vmcoreinfo`: the kernel's, where it is known.
  static Findings of(const PhysicalMemory& memory, std::span<const CpuState> cpus, std::string_view vmcoreinfo = {});

  std::string kernel;            // "Linux 6.1.0-18-cloud-amd64, KASLR offset 0x16c00000"; empty when none was found
  std::string kaslr;             // KASLR's offset; empty where it is not known
  std::vector<std::string> log;  // as on a console, the oldest first
  bool log_whole = false;        // the log still has its first line
  bool crash_kernel = false;     // it is one that was started when another had panicked
  std::optional<Panic> panic;    // panic that the log ends with
  bool user_space = false;       // surely reached: by the log, or by where a vCPU is
  std::vector<Cpu> cpus;
  std::vector<std::string> troubles;  // what is missing, and why

  // The vCPUs' lines and the troubles, each with its newline.
  std::string stacks() const;
  // The last `count` lines of the log, each with "  | " before it and a newline behind.
  std::string log_tail(size_t count) const;
};

}  // namespace vmm
