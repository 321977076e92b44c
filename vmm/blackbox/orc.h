// Orc: the kernel's tables for unwinding its stacks without frame pointers, read in its memory. For every stretch of
// code they say where the caller's stack pointer, return address and frame pointer are. See
// arch/x86/include/asm/orc_types.h and arch/x86/kernel/unwind_orc.c.
//
// The table of the kernel's image is found by its symbols (CONFIG_UNWINDER_ORC and CONFIG_KALLSYMS_ALL); modules have
// tables of their own, which are not looked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "vmm/blackbox/address_space.h"
#include "vmm/blackbox/kallsyms.h"

namespace vmm {

class Orc {
 public:
  // What a stack is unwound from: a place in the code, and the registers there as far as they are known.
  struct State {
    uint64_t ip = 0;
    uint64_t sp = 0;
    uint64_t bp = 0;
    bool exact = true;  // `ip` is the instruction to come, no return address
    // Known at the top, and where an interrupt stored all registers.
    std::optional<uint64_t> ax, dx, di, r10, r13;
    bool in_user_space = false;
  };
  enum class Step { kCaller, kEnd, kLost };

  Orc(const AddressSpace& kernel, const Kallsyms& symbols, std::string_view release);

  bool found() const { return count_ > 0; }
  // From a function to its caller. `state` is unchanged unless the answer is kCaller.
  Step unwind(State& state) const;

 private:
  struct Entry {
    int16_t sp_offset = 0;
    int16_t bp_offset = 0;
    uint16_t kinds = 0;  // sp_reg:4, bp_reg:4, then the type, whose width changed over time
  };

  // What a register's number stands for.
  enum class Base { kUndefined, kPreviousSp, kAx, kDx, kDi, kBp, kSp, kR10, kR13, kBpIndirect, kSpIndirect };

  bool has_numbers_of_7() const;
  Base base(unsigned number) const;
  std::optional<Entry> entry_at(uint64_t ip) const;
  std::optional<uint64_t> caller_sp(const Entry& entry, const State& state) const;

  const AddressSpace& kernel_;
  uint64_t addresses_ = 0;  // int32_t each: the distance from there to the code
  uint64_t entries_ = 0;
  uint64_t count_ = 0;
  bool types_of_6_4_ = false;
  bool numbers_of_7_ = false;
};

}  // namespace vmm
