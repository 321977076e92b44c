// GdbMemory: guest memory by virtual address, as gdb reads and writes it.
//
// Addresses are those of one vCPU, by its own page tables. What those lack of the kernel's half is looked for in the
// others', as a CPU in user space may leave the kernel out, and one may not have got its tables yet. Only RAM is
// reached: no device sees any of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "vmm/control/gdb/gdb_breakpoints.h"
#include "vmm/control/gdb/gdb_target.h"

namespace vmm {

class GdbMemory {
 public:
  GdbMemory(GdbTarget& target, GdbBreakpoints& breakpoints) : target_(target), breakpoints_(breakpoints) {}

  std::optional<GuestAddress> translate(unsigned cpu, uint64_t address) const;
  // As much as is there from the start, `most` at the most, without the breakpoints in it.
  std::string read(unsigned cpu, uint64_t address, size_t most) const;
  // False when some of it is not there; then nothing is written.
  bool write(unsigned cpu, uint64_t address, std::span<const std::byte> bytes) const;

 private:
  std::optional<GuestAddress> seen_by(unsigned cpu, uint64_t address) const;
  std::optional<GuestAddress> unmapped_kernel(uint64_t address) const;

  GdbTarget& target_;
  GdbBreakpoints& breakpoints_;
};

}  // namespace vmm
