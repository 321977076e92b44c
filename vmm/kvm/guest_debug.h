// Guest debugging: a vCPU steered from outside by KVM_SET_GUEST_DEBUG, with single steps, breakpoint instructions in
// its code, and the CPU's debug registers. While it is on, ours replace the guest's own: four on x86 (Intel SDM 3B,
// chapter 18); on ARM as many breakpoints and watchpoints as the CPU has (Arm ARM, D2).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "vmm/core/guest_memory.h"
#include "vmm/kvm/vcpu.h"

namespace vmm {

// One debug register: an instruction, or data of 1, 2, 4 or 8 bytes, aligned to that.
struct HardwarePoint {
  enum class Kind { kExecute, kWrite, kAccess };
  Kind kind = Kind::kExecute;
  uint64_t address = 0;  // linear
  unsigned size = 1;
  bool operator==(const HardwarePoint&) const = default;
};

struct GuestDebug {
  static constexpr size_t kPoints = 4;
  bool catch_breakpoints = false;  // instructions, all of them, the guest's own too
  bool step = false;  // stop after one instruction, which no interrupt comes before where KVM can hold them back
  std::array<std::optional<HardwarePoint>, kPoints> points;
  bool operator==(const GuestDebug&) const = default;
};

// Why KVM left the guest with KVM_EXIT_DEBUG.
struct DebugEvent {
  bool breakpoint = false;  // an instruction; else a debug exception, as the rest says
  uint64_t pc = 0;          // address of that instruction, or of the next one
  bool stepped = false;
  unsigned points = 0;          // points that were met: bit n is GuestDebug::points[n]
  bool kernel_entered = false;  // see watch_for_kernel()
};

// The instruction that is a breakpoint, as it is in memory: INT3, or BRK #0.
constexpr size_t kMostBreakpoint = 4;
extern const std::span<const std::byte> kBreakpoint;
// After code was written from outside: what CPUs keep of it must not be what was there.
void code_changed(const GuestSlice& code);

// Where a virtual address is, by the page tables and the mode that the CPU is in, as far as KVM tells.
std::optional<GuestAddress> translate(const Vcpu& vcpu, uint64_t address);
// False when KVM refuses.
bool set_guest_debug(const Vcpu& vcpu, const GuestDebug& debug);
// After an exit whose reason is KVM_EXIT_DEBUG, while `debug` was set.
DebugEvent debug_event(const Vcpu& vcpu, const GuestDebug& debug);
// Lets the guest have what it was: its own breakpoint or debug exception. `debug` is what is set.
void give_to_guest(const Vcpu& vcpu, const GuestDebug& debug, const DebugEvent& event);
// From now on, or no more: a write of the GS base, which Linux makes when it has just begun to run at its virtual
// addresses (arch/x86/kernel/head_64.S), makes KVM leave the guest. False when the host's KVM cannot (before
// Linux 5.10).
bool watch_for_kernel(const Vm& vm, bool on);
// After such an exit, KVM_EXIT_X86_WRMSR: makes the write. True when it was code in the upper half of the addresses.
bool write_watched_msr(const Vcpu& vcpu);
// Tells the guest's clock that it stood still, so that its watchdogs do not bark.
void excuse_pause(const Vcpu& vcpu);

}  // namespace vmm
