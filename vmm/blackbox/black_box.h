// BlackBox: what a Linux guest was doing, told from its memory and its CPUs' registers alone: no help from the guest,
// no symbol file, no console. It works on a live guest that stands still and on one that has died.
//
//   VMCOREINFO in a page of memory -> where the kernel is -> its page tables -> its log, its symbols, its stacks.
//
// Everything read is the guest's to forge, so all of it is copied once and checked, every loop has a bound, and text is
// made fit for a terminal. What is not found or not understood is said in words, never guessed, but for stack frames
// that were found by looking: those are marked. Knows Linux from 5.10 (log), 6.0 (symbols), on x86-64 and arm64.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/blackbox/cpu_state.h"
#include "vmm/blackbox/frame_records.h"
#include "vmm/blackbox/kallsyms.h"
#include "vmm/blackbox/kernel_map.h"
#include "vmm/blackbox/orc.h"
#include "vmm/blackbox/printk_ring.h"
#include "vmm/blackbox/tasks.h"
#include "vmm/blackbox/vmcoreinfo.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

// A stretch of virtual addresses, and the physical one that it begins at.
struct Mapping {
  uint64_t address = 0;
  GuestAddress physical;
  uint64_t size = 0;
};

struct Frame {
  uint64_t address = 0;
  std::string symbol;   // empty: none known, as in a module
  uint64_t offset = 0;  // from the symbol
  bool sure = true;     // false: a return address on the stack, or in arm64's LR, that may be an old one
};

class BlackBox {
 public:
  // Reads everything but the stacks. The guest must stand still. `memory` outlives it. `vmcoreinfo`, if known, is not
  // looked for.
  BlackBox(const PhysicalMemory& memory, std::span<const CpuState> cpus, std::string_view vmcoreinfo = {});
  BlackBox(const BlackBox&) = delete;
  BlackBox& operator=(const BlackBox&) = delete;

  // Why something is missing: the kernel altogether, the log, the symbols. Empty when all is there.
  const std::vector<std::string>& troubles() const { return troubles_; }
  const std::string& release() const { return release_; }  // empty when no kernel was found
  std::optional<uint64_t> kaslr_offset() const { return kaslr_offset_; }
  const std::string& vmcoreinfo() const { return vmcoreinfo_; }  // the kernel's own text
  // Where the kernel has all of memory at a stretch: the virtual address of physical address 0.
  std::optional<uint64_t> direct_map() const;
  // Where its image is: at a stretch in both kinds of addresses.
  std::optional<Mapping> image() const;
  const KernelLog& log() const { return log_; }
  // PID of the task that a CPU runs; empty when that is not known (tasks.h).
  std::optional<uint32_t> pid_on(const CpuState& cpu) const { return tasks_ ? tasks_->pid_on(cpu) : std::nullopt; }
  std::optional<Kallsyms::Symbol> symbol(uint64_t address) const { return symbols_.find(address); }

  // The innermost first; empty when the CPU is in user space, does not run, or no kernel was found.
  std::vector<Frame> stack(const CpuState& cpu) const;

 private:
  bool accept(const PhysicalMemory& memory, std::span<const CpuState> cpus, const VmcoreInfo& info);
  // `exact`: the instruction to come, no return address.
  Frame frame(uint64_t address, bool exact, bool sure) const;
  std::vector<Frame> stack(const X86Registers& registers) const;
  bool follows_call(uint64_t address) const;
  // The next word of the stack that may be a return address, of as many as may still be looked at.
  bool scan(Orc::State& state, size_t& words_left) const;
  std::vector<Frame> stack(const Arm64Registers& registers) const;
  std::optional<uint64_t> caller_in_lr(const FrameRecords& records, const FrameRecords::State& state) const;

  std::vector<std::string> troubles_;
  std::string release_;
  std::string vmcoreinfo_;
  std::optional<uint64_t> kaslr_offset_;
  std::optional<KernelMap> kernel_;
  KernelLog log_;
  Kallsyms symbols_;
  std::optional<Orc> orc_;
  std::optional<Tasks> tasks_;
};

}  // namespace vmm
