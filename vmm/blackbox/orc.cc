// Looking up and applying ORC entries; see orc.h.
#include "vmm/blackbox/orc.h"

#include <algorithm>
#include <array>
#include <span>

namespace vmm {

namespace {

constexpr uint64_t kMaxEntries = uint64_t{1} << 23;
constexpr uint64_t kEntrySize = 6;

// What is at the caller's stack pointer: a return address below it, or stored registers.
enum class Frame { kCall, kRegisters, kInterruptFrame, kNone };

// Where struct pt_regs has what is needed.
constexpr uint64_t kRegsR13 = 16, kRegsBp = 32, kRegsR10 = 56, kRegsAx = 80, kRegsDx = 96, kRegsDi = 112, kRegsIp = 128;
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
  numbers_of_7_ = has_numbers_of_7();
}

// Linux 7 numbers registers anew, and nothing says so but the entries: most count from the stack pointer, which is 5,
// or 3 since then, and next to none from RDI, which is the other one.
bool Orc::has_numbers_of_7() const {
  constexpr uint64_t kSamples = 512;
  const uint64_t stride = std::max<uint64_t>(count_ / kSamples, 1);
  uint64_t threes = 0, fives = 0;
  for (uint64_t at = 0; at < count_; at += stride) {
    const auto kinds = kernel_.read<uint16_t>(entries_ + at * kEntrySize + 4);
    if (!kinds) break;
    const unsigned number = *kinds & 0xf;
    if (number == 3) ++threes;
    if (number == 5) ++fives;
  }
  return threes > fives;
}

// ORC_REG_* of orc_types.h.
Orc::Base Orc::base(unsigned number) const {
  using enum Base;
  constexpr std::array kOld{kUndefined, kPreviousSp, kDx, kDi, kBp, kSp, kR10, kR13, kBpIndirect, kSpIndirect};
  constexpr std::array kOf7{kUndefined, kAx, kDx, kSp, kBp, kDi, kR10, kR13, kPreviousSp, kSpIndirect, kBpIndirect};
  const std::span<const Base> known = numbers_of_7_ ? std::span<const Base>(kOf7) : std::span<const Base>(kOld);
  return number < known.size() ? known[number] : kUndefined;
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
  switch (base(entry.kinds & 0xf)) {
    case Base::kSp:
      return state.sp + offset;
    case Base::kBp:
      return state.bp + offset;
    case Base::kSpIndirect:
      return from(kernel_.read<uint64_t>(state.sp));
    case Base::kBpIndirect:
      return kernel_.read<uint64_t>(state.bp + offset);
    case Base::kAx:
      return from(state.ax);
    case Base::kR10:
      return from(state.r10);
    case Base::kR13:
      return from(state.r13);
    case Base::kDx:
      return from(state.dx);
    case Base::kDi:
      return from(state.di);
    case Base::kUndefined:
    case Base::kPreviousSp:
      break;
  }
  return std::nullopt;
}

Orc::Step Orc::unwind(State& state) const {
  if (count_ == 0) return Step::kLost;
  const auto entry = entry_at(state.exact ? state.ip : state.ip - 1);
  if (!entry) return Step::kLost;
  if ((entry->kinds & 0xf) == 0) {  // ORC_REG_UNDEFINED
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
      caller.ax = kernel_.read<uint64_t>(*sp + kRegsAx);
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
  const Base bp_base = base(entry->kinds >> 4 & 0xf);
  if (bp_base == Base::kPreviousSp) caller.bp = kernel_.read<uint64_t>(*sp + bp_offset).value_or(0);
  if (bp_base == Base::kBp) caller.bp = kernel_.read<uint64_t>(state.bp + bp_offset).value_or(0);
  state = caller;
  return Step::kCaller;
}

}  // namespace vmm
