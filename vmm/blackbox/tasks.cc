// The search for the current task and for the place of its PID, with proofs; see tasks.h.
#include "vmm/blackbox/tasks.h"

#include <array>
#include <cstring>
#include <span>
#include <vector>

namespace vmm {

namespace {

constexpr uint64_t kWord = sizeof(uint64_t);
constexpr size_t kMostWords = 2048;                 // of a task that are looked at
constexpr uint64_t kUpperHalf = uint64_t{1} << 63;  // where a kernel has its memory
// From real_parent.
constexpr uint64_t kChildren = 2 * kWord, kSibling = 4 * kWord, kGroupLeader = 6 * kWord;

// Where the CPU may have its own variables, the likelier place first. On x86 the kernel has its own GS base exchanged
// with the user's one when it is left, and a moment after it was entered; what is in the other register is the user's
// to choose.
std::vector<uint64_t> own_variables(const CpuState& cpu) {
  if (const auto* arm64 = cpu.arm64()) return {arm64->tpidr_el1};
  const X86Registers& x86 = *cpu.x86();
  if (cpu.in_user_space()) return {x86.kernel_gs_base, x86.gs.base};
  return {x86.gs.base, x86.kernel_gs_base};
}

}  // namespace

Tasks::Tasks(const AddressSpace& kernel, const Kallsyms& symbols)
    : kernel_(kernel), init_task_(symbols.address_of("init_task")) {
  for (const char* name : {"current_task", "pcpu_hot", "__entry_task"}) {
    if (!current_) current_ = symbols.address_of(name);
  }
  if (init_task_ && current_) pid_offset_ = find_pid();
}

std::optional<uint64_t> Tasks::find_pid() const {
  std::array<uint64_t, kMostWords> task{};
  const size_t words = kernel_.read_some(*init_task_, std::as_writable_bytes(std::span(task))) / kWord;
  for (size_t at = 2; at + kGroupLeader / kWord < words; ++at) {
    const bool is_own_parent = task[at] == *init_task_ && task[at + 1] == *init_task_;
    if (!is_own_parent || task[at + kGroupLeader / kWord] != *init_task_) continue;
    const uint64_t parent = at * kWord;
    const uint64_t first_child = task[at + kChildren / kWord] - kSibling - parent;
    for (const uint64_t pid : {parent - kWord, parent - 2 * kWord}) {
      struct Ids {
        uint32_t pid, tgid;
      };
      const auto of_init = kernel_.read<Ids>(*init_task_ + pid);
      const auto of_child = kernel_.read<Ids>(first_child + pid);
      if (of_init && of_child && of_init->pid == 0 && of_init->tgid == 0 && of_child->pid == 1 && of_child->tgid == 1) {
        return pid;
      }
    }
  }
  return std::nullopt;
}

std::optional<uint64_t> Tasks::task_on(const CpuState& cpu) const {
  for (const uint64_t base : own_variables(cpu)) {
    // On arm64, and since Linux 6.15 on x86, it is the distance from a variable's own address to that of the CPU's,
    // which may be anything.
    const uint64_t address = base + *current_;
    if (base == 0 || address < kUpperHalf) continue;
    const auto task = kernel_.read<uint64_t>(address);
    if (task && *task >= kUpperHalf) return task;
  }
  return std::nullopt;
}

std::optional<uint32_t> Tasks::pid_on(const CpuState& cpu) const {
  if (!init_task_ || !current_ || cpu.activity == CpuState::Activity::kNotStarted) return std::nullopt;
  const auto task = task_on(cpu);
  if (!task) return std::nullopt;
  if (*task == *init_task_) return 0;
  return pid_offset_ ? kernel_.read<uint32_t>(*task + *pid_offset_) : std::nullopt;
}

}  // namespace vmm
