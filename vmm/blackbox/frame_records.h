// FrameRecords: an arm64 kernel's stacks, unwound by the records that its functions leave on them: the caller's record,
// to which X29 points, and the return address (AAPCS64, "The frame pointer"). The kernel is always built with them.
//
// Where an exception struck, up to Linux 6.12 a record has the place in place of a return address. Since then one of
// zeroes, with a type behind it, lies in the stored registers, or ends the stack: arch/arm64/include/asm/stacktrace/
// frame.h.
#pragma once

#include <cstdint>
#include <optional>

#include "vmm/blackbox/address_space.h"
#include "vmm/blackbox/cpu_state.h"

namespace vmm {

class FrameRecords {
 public:
  struct State {
    uint64_t pc = 0;  // a return address, where LR is not known
    uint64_t fp = 0;
    // Known at the top, and where an exception stored all registers.
    std::optional<uint64_t> lr;
  };

  // `signature`: the bits that pointer authentication takes.
  FrameRecords(const AddressSpace& kernel, uint64_t signature) : kernel_(kernel), signature_(signature) {}

  State top(const Arm64Registers& registers) const;
  // From a function to its caller. False at the end, and where there is no record.
  bool unwind(State& state) const;

 private:
  const AddressSpace& kernel_;
  uint64_t signature_;
};

}  // namespace vmm
