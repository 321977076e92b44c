// Debug registers and single steps of ARM; see vmm/kvm/guest_debug.h.
#include "vmm/kvm/guest_debug.h"

#include <algorithm>
#include <array>

#include "vmm/kvm/aarch64/cpu_registers.h"

namespace vmm {

namespace {

constexpr std::array kBrk{std::byte{0x00}, std::byte{0x00}, std::byte{0x20}, std::byte{0xd4}};

// Exception classes, ESR_ELx.EC.
constexpr unsigned kBreakpointEc = 0x30, kStepEc = 0x32, kWatchpointEc = 0x34, kBrkEc = 0x3c;
// DBGBCR_EL1 and DBGWCR_EL1: in force, at EL1 and EL0.
constexpr uint64_t kEnabled = 1 | 3 << 1;
constexpr unsigned kSelectShift = 5;  // of BAS: the bytes that are meant
constexpr unsigned kAccessShift = 3;  // of LSC: 1 is reads, 2 is writes

kvm_guest_debug control_of(const GuestDebug& debug) {
  kvm_guest_debug control{};
  size_t breakpoints = 0, watchpoints = 0;
  for (const auto& point : debug.points) {
    if (!point) continue;
    if (point->kind == HardwarePoint::Kind::kExecute) {
      control.arch.dbg_bvr[breakpoints] = point->address & ~uint64_t{3};
      control.arch.dbg_bcr[breakpoints++] = kEnabled | 0xf << kSelectShift;
    } else {
      const uint64_t accesses = point->kind == HardwarePoint::Kind::kWrite ? 2 : 3;
      const uint64_t bytes = ((uint64_t{1} << point->size) - 1) << (point->address & 7);
      control.arch.dbg_wvr[watchpoints] = point->address & ~uint64_t{7};
      control.arch.dbg_wcr[watchpoints++] = kEnabled | accesses << kAccessShift | bytes << kSelectShift;
    }
  }
  if (debug.catch_breakpoints) control.control |= KVM_GUESTDBG_USE_SW_BP;
  if (breakpoints + watchpoints > 0) control.control |= KVM_GUESTDBG_USE_HW;
  if (debug.step) control.control |= KVM_GUESTDBG_SINGLESTEP;
  if (control.control != 0) control.control |= KVM_GUESTDBG_ENABLE;
  return control;
}

// Which of the points are at `pc`, or for data, have been accessed at `address`. A CPU may tell an address before the
// watched bytes, of a wide access: then it is the next one.
unsigned points_met(const GuestDebug& debug, unsigned exception, uint64_t pc, uint64_t address) {
  constexpr uint64_t kWidestAccess = 64;
  unsigned met = 0;
  for (size_t i = 0; i < debug.points.size(); ++i) {
    const auto& point = debug.points[i];
    if (!point) continue;
    const bool executes = point->kind == HardwarePoint::Kind::kExecute;
    const uint64_t end = point->address + point->size;
    if (exception == kBreakpointEc && executes && point->address == pc) met |= 1u << i;
    if (exception == kWatchpointEc && !executes && address < end && address + kWidestAccess > point->address) {
      met |= 1u << i;
    }
  }
  return met;
}

}  // namespace

const std::span<const std::byte> kBreakpoint = kBrk;

// Caches of instructions do not look what is written.
void code_changed(const GuestSlice& code) {
  auto* const begin = static_cast<char*>(code.iov().iov_base);
  __builtin___clear_cache(begin, begin + code.size());
}

std::optional<GuestAddress> translate(const Vcpu&, uint64_t) { return std::nullopt; }

bool set_guest_debug(const Vcpu& vcpu, const GuestDebug& debug) {
  const kvm_guest_debug control = control_of(debug);
  return kvm_ioctl(vcpu.fd(), KVM_SET_GUEST_DEBUG, &control) >= 0;
}

DebugEvent debug_event(const Vcpu& vcpu, const GuestDebug& debug) {
  const kvm_debug_exit_arch& arch = vcpu.state().debug.arch;
  const unsigned exception = arch.hsr >> 26;
  const uint64_t pc = read_registers(vcpu).pc;
  return {.breakpoint = exception == kBrkEc,
          .pc = pc,
          .stepped = exception == kStepEc,
          .points = points_met(debug, exception, pc, arch.far)};
}

// The guest takes the exception that its BRK is (Arm ARM, D1.3): KVM has no order for that.
void give_to_guest(const Vcpu& vcpu, const GuestDebug&, const DebugEvent& event) {
  if (!event.breakpoint) return;  // its own debug registers are replaced by ours
  constexpr uint64_t kAllMasked = 0xf << 6;
  constexpr uint64_t kFromCurrentEl = 0x200, kFromLowerEl = 0x400;  // in the table of vectors
  constexpr uint64_t kInstructionLength = 1 << 25, kComment = 0xffff;
  const CpuRegisters before = read_registers(vcpu);
  CpuRegisters wanted = before;
  const uint64_t mode = before.pstate & kPstateMode;
  wanted.esr_el1 = uint64_t{kBrkEc} << 26 | kInstructionLength | (vcpu.state().debug.arch.hsr & kComment);
  wanted.elr_el1 = before.pc;
  wanted.spsr_el1 = before.pstate;
  wanted.pc = before.vbar_el1 + (mode == kPstateEl1h ? kFromCurrentEl : mode < 4 ? kFromLowerEl : 0);
  wanted.pstate = kAllMasked | kPstateEl1h;
  write_registers(vcpu, before, wanted);  // but for `sp`: the one that is in use from now on stays as it is
}

bool watch_for_kernel(const Vm&, bool) { return false; }  // there is no exit for it
void excuse_pause(const Vcpu&) {}

}  // namespace vmm
