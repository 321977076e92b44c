// Looking up and applying ORC entries; see orc.h.
#include "vmm/blackbox/orc.h"

#include <cstdio>
#include <string>

namespace vmm {

namespace {

constexpr uint64_t kMaxEntries = uint64_t{1} << 23;
constexpr uint64_t kEntrySize = 6;

// Registers of an entry. Names from orc_types.h.
enum Register : unsigned {
  ORC_REG_UNDEFINED = 0,
  ORC_REG_PREV_SP = 1,
  ORC_REG_DX = 2,
  ORC_REG_DI = 3,
  ORC_REG_BP = 4,
  ORC_REG_SP = 5,
  ORC_REG_R10 = 6,
  ORC_REG_R13 = 7,
  ORC_REG_BP_INDIRECT = 8,
  ORC_REG_SP_INDIRECT = 9,
};

// What is at the caller's stack pointer: a return address below it, or stored registers.
enum class Frame { kCall, kRegisters, kInterruptFrame, kNone };

// Where struct pt_regs has what is needed.
constexpr uint64_t kRegsR13 = 16, kRegsBp = 32, kRegsR10 = 56, kRegsDx = 96, kRegsDi = 112, kRegsIp = 128;
// The part of it that the CPU itself stores, counted from its IP.
constexpr uint64_t kFrameCs = 8, kFrameSp = 24;

std::string_view::size_type digits_value(std::string_view text, size_t& at) {
  size_t value = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9' && value < 1000; ++at) {
    value = value * 10 + static_cast<size_t>(text[at] - '0');
  }
  return value;
}

bool at_least_6_4(std::string_view release) {
  size_t at = 0;
  const size_t major = digits_value(release, at);
  if (at < release.size() && release[at] == '.') ++at;
  const size_t minor = digits_value(release, at);
  return major > 6 || (major == 6 && minor >= 4);
}

// Before 6.4: CALL, REGS, REGS_PARTIAL in two bits, and no type for a place without an entry or at a stack's end, which
// has no register to count from. Since: UNDEFINED, END_OF_STACK, CALL, REGS, REGS_PARTIAL in three.
Frame frame_kind(uint16_t kinds, bool types_of_6_4) {
  const unsigned type = kinds >> 8;
  constexpr Frame kOld[] = {Frame::kCall, Frame::kRegisters, Frame::kInterruptFrame, Frame::kNone};
  constexpr Frame kNew[] = {Frame::kNone,           Frame::kNone, Frame::kCall, Frame::kRegisters,
                            Frame::kInterruptFrame, Frame::kNone, Frame::kNone, Frame::kNone};
  return types_of_6_4 ? kNew[type & 7] : kOld[type & 3];
}

}  // namespace

Orc::Orc(const AddressSpace& kernel, const Kallsyms& symbols, std::string_view release)
    : kernel_(kernel), types_of_6_4_(at_least_6_4(release)) {
  const auto first_address = symbols.address_of("__start_orc_unwind_ip");
  const auto last_address = symbols.address_of("__stop_orc_unwind_ip");
  const auto first_entry = symbols.address_of("__start_orc_unwind");
  if (!first_address || !last_address || !first_entry || *last_address <= *first_address) return;
  const uint64_t count = (*last_address - *first_address) / sizeof(int32_t);
  if (count > kMaxEntries) return;
  addresses_ = *first_address;
  entries_ = *first_entry;
  count_ = count;
}

// The last entry at or before `ip`.
std::optional<Orc::Entry> Orc::entry_at(uint64_t ip) const {
  uint64_t low = 0;
  uint64_t high = count_;
  while (low < high) {
    const uint64_t middle = (low + high) / 2;
    const uint64_t place = addresses_ + middle * sizeof(int32_t);
    const auto distance = kernel_.read<int32_t>(place);
    if (!distance) return std::nullopt;
    if (place + static_cast<uint64_t>(static_cast<int64_t>(*distance)) <= ip) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0 || low == count_) return std::nullopt;  // the last entry is where the kernel's code ends
  const uint64_t place = entries_ + (low - 1) * kEntrySize;
  const auto sp_offset = kernel_.read<int16_t>(place);
  const auto bp_offset = kernel_.read<int16_t>(place + 2);
  const auto kinds = kernel_.read<uint16_t>(place + 4);
  if (!sp_offset || !bp_offset || !kinds) return std::nullopt;
  return Entry{*sp_offset, *bp_offset, *kinds};
}

std::optional<uint64_t> Orc::caller_sp(const Entry& entry, const State& state) const {
  const auto offset = static_cast<uint64_t>(static_cast<int64_t>(entry.sp_offset));
  const auto from = [offset](std::optional<uint64_t> base) {
    return base ? std::optional(*base + offset) : std::nullopt;
  };
  switch (entry.kinds & 0xf) {
    case ORC_REG_SP:
      return state.sp + offset;
    case ORC_REG_BP:
      return state.bp + offset;
    case ORC_REG_SP_INDIRECT:
      return from(kernel_.read<uint64_t>(state.sp));
    case ORC_REG_BP_INDIRECT:
      return kernel_.read<uint64_t>(state.bp + offset);
    case ORC_REG_R10:
      return from(state.r10);
    case ORC_REG_R13:
      return from(state.r13);
    case ORC_REG_DX:
      return from(state.dx);
    case ORC_REG_DI:
      return from(state.di);
    default:
      return std::nullopt;
  }
}

Orc::Step Orc::unwind(State& state) const {
  if (count_ == 0) return Step::kLost;
  const auto entry = entry_at(state.exact ? state.ip : state.ip - 1);
  if (!entry) return Step::kLost;
  if ((entry->kinds & 0xf) == ORC_REG_UNDEFINED) {
    const bool undefined = types_of_6_4_ && (entry->kinds >> 8 & 7) == 0;
    return undefined ? Step::kLost : Step::kEnd;
  }
  const auto sp = caller_sp(*entry, state);
  if (!sp) return Step::kLost;

  State caller;
  caller.bp = state.bp;
  switch (frame_kind(entry->kinds, types_of_6_4_)) {
    case Frame::kCall: {
      const auto ip = kernel_.read<uint64_t>(*sp - sizeof(uint64_t));
      if (!ip) return Step::kLost;
      caller.ip = *ip;
      caller.sp = *sp;
      caller.exact = false;
      break;
    }
    case Frame::kRegisters:
      caller.dx = kernel_.read<uint64_t>(*sp + kRegsDx);
      caller.di = kernel_.read<uint64_t>(*sp + kRegsDi);
      caller.r10 = kernel_.read<uint64_t>(*sp + kRegsR10);
      caller.r13 = kernel_.read<uint64_t>(*sp + kRegsR13);
      caller.bp = kernel_.read<uint64_t>(*sp + kRegsBp).value_or(0);
      [[fallthrough]];
    case Frame::kInterruptFrame: {
      const bool full = frame_kind(entry->kinds, types_of_6_4_) == Frame::kRegisters;
      const uint64_t stored = *sp + (full ? kRegsIp : 0);
      const auto ip = kernel_.read<uint64_t>(stored);
      const auto cs = kernel_.read<uint64_t>(stored + kFrameCs);
      const auto old_sp = kernel_.read<uint64_t>(stored + kFrameSp);
      if (!ip || !cs || !old_sp) return Step::kLost;
      caller.ip = *ip;
      caller.sp = *old_sp;
      caller.in_user_space = (*cs & 3) != 0;
      break;
    }
    case Frame::kNone:
      return Step::kLost;
  }
  const auto bp_offset = static_cast<uint64_t>(static_cast<int64_t>(entry->bp_offset));
  const unsigned bp_register = entry->kinds >> 4 & 0xf;
  if (bp_register == ORC_REG_PREV_SP) caller.bp = kernel_.read<uint64_t>(*sp + bp_offset).value_or(0);
  if (bp_register == ORC_REG_BP) caller.bp = kernel_.read<uint64_t>(state.bp + bp_offset).value_or(0);
  state = caller;
  return Step::kCaller;
}

}  // namespace vmm
