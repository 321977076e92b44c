// One step up an arm64 stack, from record to record and over exceptions; see frame_records.h.
#include "vmm/blackbox/frame_records.h"

#include <array>

namespace vmm {

namespace {

constexpr uint64_t kKernelHalf = uint64_t{1} << 55;  // set in the kernel's addresses, signed ones as well
constexpr unsigned kFp = 29, kLr = 30;

struct FrameRecord {
  uint64_t fp, lr;
};

// struct pt_regs up to the record that is in it.
struct StoredRegisters {
  std::array<uint64_t, 31> x;
  uint64_t sp, pc, pstate;
  std::array<uint64_t, 2> of_the_system_call;
  uint64_t sdei_ttbr1;
};
static_assert(sizeof(StoredRegisters) == 296);

}  // namespace

FrameRecords::State FrameRecords::top(const Arm64Registers& registers) const {
  return {registers.pc, registers.x[kFp], registers.x[kLr] | signature_};
}

bool FrameRecords::unwind(State& state) const {
  constexpr uint64_t kOfStoredRegisters = 2;  // FRAME_META_TYPE_PT_REGS
  const auto record = kernel_.read<FrameRecord>(state.fp);
  if (!record) return false;
  State caller{record->lr, record->fp, std::nullopt};
  if (record->fp == 0 && record->lr == 0) {
    const auto type = kernel_.read<uint64_t>(state.fp + sizeof(FrameRecord));
    const auto stored = kernel_.read<StoredRegisters>(state.fp - sizeof(StoredRegisters));
    if (type != kOfStoredRegisters || !stored) return false;
    caller = {stored->pc, stored->x[kFp], stored->x[kLr] | signature_};
  }
  if ((caller.pc & kKernelHalf) == 0) return false;
  caller.pc |= signature_;
  state = caller;
  return true;
}

}  // namespace vmm
