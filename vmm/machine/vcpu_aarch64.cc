// What an ARM CPU leaves the guest for, and its registers; see vcpu_thread.h.
#include <fmt/core.h>

#include <functional>
#include <string>
#include <string_view>

#include "vmm/kvm/aarch64/cpu_registers.h"
#include "vmm/machine/vcpu_thread.h"

namespace vmm {

namespace {

// One that waits for an interrupt (WFI) sleeps within KVM, and is running all the same.
CpuState::Activity activity_of(uint32_t mp_state) {
  return mp_state == KVM_MP_STATE_STOPPED ? CpuState::Activity::kNotStarted : CpuState::Activity::kRunning;
}

}  // namespace

// KVM shares none, so that a trace does not know the place in the guest's code.
void VcpuThread::share_registers(const Kvm&) {}
uint64_t VcpuThread::shared_pc() const { return 0; }

bool VcpuThread::answer_own_exit() {
  const kvm_run& state = vcpu_.state();
  if (state.exit_reason != KVM_EXIT_SYSTEM_EVENT) return fail(unknown_exit());
  switch (state.system_event.type) {  // what the guest asked PSCI for
    case KVM_SYSTEM_EVENT_SHUTDOWN:
      return fail({Outcome::Kind::kPoweroff, exit_code::kClean, "guest powered off"});
    case KVM_SYSTEM_EVENT_RESET:
      return fail({Outcome::Kind::kReset, exit_code::kReset, "guest asked for a reset (PSCI)"});
    default:
      return fail({Outcome::Kind::kKvmError, exit_code::kKvmError,
                   fmt::format("vCPU {} reports a system event that this monitor does not know ({})", vcpu_.id(),
                               state.system_event.type),
                   vcpu_.describe()});
  }
}

// When the guest asks for its end, KVM stops all vCPUs, but leaves them where they are. One that was never turned on is
// still where it was made.
CpuState VcpuThread::cpu_state() const {
  const CpuRegisters registers = read_registers(vcpu_);
  const bool was_on = activity_of(vcpu_.mp_state()) == CpuState::Activity::kRunning || registers.pc != 0;
  return {.id = vcpu_.id(),
          .activity = was_on ? CpuState::Activity::kRunning : CpuState::Activity::kNotStarted,
          .registers = Arm64Registers{.x = registers.x,
                                      .sp = registers.sp,
                                      .pc = registers.pc,
                                      .pstate = registers.pstate,
                                      .sctlr_el1 = registers.sctlr_el1,
                                      .tcr_el1 = registers.tcr_el1,
                                      .ttbr0_el1 = registers.ttbr0_el1,
                                      .ttbr1_el1 = registers.ttbr1_el1,
                                      .tpidr_el1 = registers.tpidr_el1}};
}

HangWatch::Sample VcpuThread::sample() const {
  const CpuRegisters registers = read_registers(vcpu_);
  const std::string_view bytes(reinterpret_cast<const char*>(&registers), sizeof registers);
  return {.id = vcpu_.id(),
          .activity = activity_of(vcpu_.mp_state()),
          .interrupts_on = (registers.pstate & kPstateIrqMasked) == 0,
          .registers = std::hash<std::string_view>()(bytes),
          .exits = exits(),
          .cpu_time = cpu_time()};
}

}  // namespace vmm
