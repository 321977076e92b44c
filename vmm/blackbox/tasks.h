// Tasks: which task of a Linux guest each CPU is running, told without its debug information.
//
// A per-CPU variable points to the task: current_task, or the first member of pcpu_hot (Linux 6.2 to 6.14), on arm64
// __entry_task. Where its PID is in struct task_struct is nowhere to be read, but next to it are members by which the
// place can be found, and proved:
//
//   pid, tgid, [stack_canary,] real_parent, parent, children, sibling, group_leader     (include/linux/sched.h)
//
// init_task is its own parent and leader, its PID is 0, and its first child is PID 1. A kernel whose structures are in
// another order (CONFIG_RANDSTRUCT) is not understood.
#pragma once

#include <cstdint>
#include <optional>

#include "vmm/blackbox/address_space.h"
#include "vmm/blackbox/cpu_state.h"
#include "vmm/blackbox/kallsyms.h"

namespace vmm {

class Tasks {
 public:
  // Finds nothing, then, where a symbol is missing (CONFIG_KALLSYMS_ALL) or the proof fails. `kernel` outlives it.
  Tasks(const AddressSpace& kernel, const Kallsyms& symbols);

  // The PID of the task on this CPU, as the initial namespace has it; 0 is the CPU's idle task. Empty: not known.
  std::optional<uint32_t> pid_on(const CpuState& cpu) const;

 private:
  std::optional<uint64_t> find_pid() const;
  std::optional<uint64_t> task_on(const CpuState& cpu) const;

  const AddressSpace& kernel_;
  std::optional<uint64_t> init_task_;
  std::optional<uint64_t> current_;     // offset of the pointer to the current task in a CPU's own variables
  std::optional<uint64_t> pid_offset_;  // offset of the PID in a task; empty as well while there is none but init_task
};

}  // namespace vmm
