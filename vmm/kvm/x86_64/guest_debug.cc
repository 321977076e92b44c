// Debug registers and single steps of x86; see vmm/kvm/guest_debug.h.
#include "vmm/kvm/guest_debug.h"

#include <array>

#include "vmm/kvm/x86_64/registers.h"

namespace vmm {

namespace {

constexpr uint32_t kBreakpointVector = 3;
constexpr uint32_t kMsrGsBase = 0xc0000101;
constexpr uint64_t kDr6Step = 1 << 14;
constexpr uint64_t kDr6Points = 0xf;
constexpr uint64_t kDr6Fixed = 0xffff0ff0;  // bits that read as one
constexpr uint64_t kDr7Fixed = 1 << 10;

uint64_t dr7_of(const GuestDebug& debug) {
  uint64_t dr7 = kDr7Fixed;
  for (size_t i = 0; i < debug.points.size(); ++i) {
    if (!debug.points[i]) continue;
    const HardwarePoint& point = *debug.points[i];
    const uint64_t kind = point.kind == HardwarePoint::Kind::kExecute ? 0
                          : point.kind == HardwarePoint::Kind::kWrite ? 1
                                                                      : 3;
    const uint64_t length = kind == 0 ? 0 : point.size == 8 ? 2 : point.size - 1;  // 00 01 11 10 for 1 2 4 8
    dr7 |= uint64_t{2} << (2 * i);                                                 // global enable
    dr7 |= (kind | length << 2) << (16 + 4 * i);
  }
  return dr7;
}

#ifdef KVM_GUESTDBG_BLOCKIRQ
constexpr uint32_t kBlockInterrupts = KVM_GUESTDBG_BLOCKIRQ;
#else
constexpr uint32_t kBlockInterrupts = 0;  // headers before Linux 5.16
#endif

// What KVM has beyond the basics. Those before Linux 5.16 do not say, and have no KVM_GUESTDBG_BLOCKIRQ.
bool can_block_interrupts(const Vcpu& vcpu) {
  static const bool can = [&vcpu] {
    // The capability is the virtual machine's; a vCPU answers with EINVAL to a flag that it does not know.
    kvm_guest_debug probe{};
    probe.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | kBlockInterrupts;
    return kvm_ioctl(vcpu.fd(), KVM_SET_GUEST_DEBUG, &probe) >= 0;
  }();
  return can;
}

kvm_guest_debug control_of(const Vcpu& vcpu, const GuestDebug& debug) {
  kvm_guest_debug control{};
  bool any_point = false;
  for (size_t i = 0; i < debug.points.size(); ++i) {
    if (!debug.points[i]) continue;
    any_point = true;
    control.arch.debugreg[i] = debug.points[i]->address;
  }
  control.arch.debugreg[7] = dr7_of(debug);
  if (debug.catch_breakpoints) control.control |= KVM_GUESTDBG_USE_SW_BP;
  if (any_point) control.control |= KVM_GUESTDBG_USE_HW_BP;
  if (debug.step) control.control |= KVM_GUESTDBG_SINGLESTEP;
  if (debug.step && can_block_interrupts(vcpu)) control.control |= kBlockInterrupts;
  if (control.control != 0) control.control |= KVM_GUESTDBG_ENABLE;
  return control;
}

constexpr std::array kInt3{std::byte{0xcc}};

}  // namespace

const std::span<const std::byte> kBreakpoint = kInt3;

void code_changed(const GuestSlice&) {}  // they look for themselves

std::optional<GuestAddress> translate(const Vcpu& vcpu, uint64_t address) {
  kvm_translation where{};
  where.linear_address = address;
  if (kvm_ioctl(vcpu.fd(), KVM_TRANSLATE, &where) < 0 || where.valid == 0) return std::nullopt;
  return GuestAddress{where.physical_address};
}

bool set_guest_debug(const Vcpu& vcpu, const GuestDebug& debug) {
  kvm_guest_debug control = control_of(vcpu, debug);
  return kvm_ioctl(vcpu.fd(), KVM_SET_GUEST_DEBUG, &control) >= 0;
}

DebugEvent debug_event(const Vcpu& vcpu, const GuestDebug&) {
  const kvm_debug_exit_arch& arch = vcpu.state().debug.arch;
  if (arch.exception == kBreakpointVector) return {.breakpoint = true, .pc = arch.pc};
  return {.pc = arch.pc, .stepped = (arch.dr6 & kDr6Step) != 0, .points = static_cast<unsigned>(arch.dr6 & kDr6Points)};
}

// An INT3 whose exception is not delivered after all, as when registers are written before the vCPU runs, is met again.
void give_to_guest(const Vcpu& vcpu, const GuestDebug& debug, const DebugEvent& event) {
  kvm_guest_debug control = control_of(vcpu, debug);
  control.control |= KVM_GUESTDBG_ENABLE | (event.breakpoint ? KVM_GUESTDBG_INJECT_BP : KVM_GUESTDBG_INJECT_DB);
  if (!event.breakpoint) {
    kvm_debugregs registers{};
    kvm_ioctl(vcpu.fd(), KVM_GET_DEBUGREGS, &registers);
    registers.dr6 = kDr6Fixed | (event.stepped ? kDr6Step : 0) | event.points;
    kvm_ioctl(vcpu.fd(), KVM_SET_DEBUGREGS, &registers);
  }
  kvm_ioctl(vcpu.fd(), KVM_SET_GUEST_DEBUG, &control);
}

bool watch_for_kernel(const Vm& vm, bool on) {
  kvm_enable_cap exits{};
  exits.cap = KVM_CAP_X86_USER_SPACE_MSR;
  exits.args[0] = KVM_MSR_EXIT_REASON_FILTER;
  if (kvm_ioctl(vm.fd(), KVM_ENABLE_CAP, &exits) < 0) return false;
  std::array<uint8_t, sizeof(uint64_t)> refused{};  // a bit for each register of the range, that allows it
  kvm_msr_filter filter{};
  if (on) filter.ranges[0] = {.flags = KVM_MSR_FILTER_WRITE, .nmsrs = 1, .base = kMsrGsBase, .bitmap = refused.data()};
  return kvm_ioctl(vm.fd(), KVM_X86_SET_MSR_FILTER, &filter) >= 0;
}

bool write_watched_msr(const Vcpu& vcpu) {
  constexpr uint64_t kUpperHalf = uint64_t{1} << 63;
  auto& access = vcpu.state().msr;
  access.error = set_msr(vcpu, access.index, access.data) ? 0 : 1;
  return (get_regs(vcpu).rip & kUpperHalf) != 0;
}

void excuse_pause(const Vcpu& vcpu) { kvm_ioctl(vcpu.fd(), KVM_KVMCLOCK_CTRL); }

}  // namespace vmm
