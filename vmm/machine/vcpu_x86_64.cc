// What an x86 CPU leaves the guest for, and its registers; see vcpu_thread.h.
#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "vmm/core/trace.h"
#include "vmm/kvm/x86_64/registers.h"
#include "vmm/machine/vcpu_thread.h"

namespace vmm {

namespace {

std::string_view suberror_name(uint32_t suberror) {
  switch (suberror) {
    case KVM_INTERNAL_ERROR_EMULATION:
      return "an instruction that KVM does not emulate";
    case KVM_INTERNAL_ERROR_SIMUL_EX:
      return "an exception while delivering another";
    case KVM_INTERNAL_ERROR_DELIVERY_EV:
      return "an exit while delivering an event";
    case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
      return "an exit it did not expect";
    default:
      return "an unknown suberror";
  }
}

CpuState::Activity activity_of(uint32_t mp_state) {
  switch (mp_state) {
    case KVM_MP_STATE_HALTED:
      return CpuState::Activity::kHalted;
    case KVM_MP_STATE_UNINITIALIZED:
    case KVM_MP_STATE_INIT_RECEIVED:
      return CpuState::Activity::kNotStarted;
    default:
      return CpuState::Activity::kRunning;
  }
}

X86Registers::Segment segment_of(const kvm_segment& segment) {
  const auto bit = [](unsigned value, unsigned place) { return static_cast<uint32_t>(value) << place; };
  return {.selector = segment.selector,
          .limit = segment.limit,
          .flags = bit(segment.g, 23) | bit(segment.db, 22) | bit(segment.l, 21) | bit(segment.avl, 20) |
                   bit(segment.present, 15) | bit(segment.dpl, 13) | bit(segment.s, 12) | bit(segment.type, 8),
          .base = segment.base};
}

std::string_view cpu_mode(const kvm_sregs& sregs) {
  constexpr uint64_t kProtectedMode = 1;
  constexpr uint64_t kLongModeActive = 1 << 10;
  if ((sregs.cr0 & kProtectedMode) == 0) return "real mode";
  return (sregs.efer & kLongModeActive) != 0 ? "long mode" : "protected mode, not in long mode yet";
}

}  // namespace

// KVM leaves them in the shared page at each exit, so that asking where the guest was costs no ioctl.
void VcpuThread::share_registers(const Kvm& kvm) {
  vcpu_.state().kvm_valid_regs = static_cast<uint64_t>(kvm.capability(KVM_CAP_SYNC_REGS)) & uint64_t{KVM_SYNC_X86_REGS};
}

uint64_t VcpuThread::shared_pc() const { return vcpu_.state().s.regs.regs.rip; }

bool VcpuThread::answer_own_exit() {
  switch (vcpu_.state().exit_reason) {
    case KVM_EXIT_IO:
      port_access();
      return true;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
      return true;
    case KVM_EXIT_X86_WRMSR:
      if (write_watched_msr(vcpu_)) report({.kernel_entered = true});
      return true;
    case KVM_EXIT_SHUTDOWN:
      return fail(triple_fault());
    case KVM_EXIT_INTERNAL_ERROR:
      return fail(internal_error());
    default:
      return fail(unknown_exit());
  }
}

void VcpuThread::port_access() {
  kvm_run& state = vcpu_.state();
  Access& access = accesses_[access_count_++ % accesses_.size()];
  access = {true, state.io.direction == KVM_EXIT_IO_OUT, state.io.port};
  auto* data = reinterpret_cast<std::byte*>(&state) + state.io.data_offset;
  for (uint32_t i = 0; i < state.io.count; ++i, data += state.io.size) {
    const std::span<std::byte> value(data, state.io.size);
    const bool write = state.io.direction == KVM_EXIT_IO_OUT;
    access.device = write ? world_.ports.write(state.io.port, value) : world_.ports.read(state.io.port, value);
    if (traced(TraceArea::kPio)) trace_access(access, value);
    if (access.device == nullptr) {
      guest_debug(strays_, "nothing is at port {:#x}, which the guest {}", state.io.port, verb(write));
    }
  }
}

CpuState VcpuThread::cpu_state() const {
  constexpr uint32_t kKernelGsBase = 0xc0000102;  // MSR_KERNEL_GS_BASE
  const kvm_regs regs = get_regs(vcpu_);
  const kvm_sregs sregs = get_sregs(vcpu_);
  X86Registers state;
  state.privilege = sregs.ss.dpl;
  state.rip = regs.rip;
  state.rflags = regs.rflags;
  state.rax = regs.rax;
  state.rbx = regs.rbx;
  state.rcx = regs.rcx;
  state.rdx = regs.rdx;
  state.rsi = regs.rsi;
  state.rdi = regs.rdi;
  state.rbp = regs.rbp;
  state.rsp = regs.rsp;
  state.r8 = regs.r8;
  state.r9 = regs.r9;
  state.r10 = regs.r10;
  state.r11 = regs.r11;
  state.r12 = regs.r12;
  state.r13 = regs.r13;
  state.r14 = regs.r14;
  state.r15 = regs.r15;
  state.cs = segment_of(sregs.cs);
  state.ds = segment_of(sregs.ds);
  state.es = segment_of(sregs.es);
  state.fs = segment_of(sregs.fs);
  state.gs = segment_of(sregs.gs);
  state.ss = segment_of(sregs.ss);
  state.ldt = segment_of(sregs.ldt);
  state.tr = segment_of(sregs.tr);
  state.gdt = {.limit = sregs.gdt.limit, .base = sregs.gdt.base};
  state.idt = {.limit = sregs.idt.limit, .base = sregs.idt.base};
  state.kernel_gs_base = get_msr(vcpu_, kKernelGsBase).value_or(0);
  state.cr0 = sregs.cr0;
  state.cr2 = sregs.cr2;
  state.cr3 = sregs.cr3;
  state.cr4 = sregs.cr4;
  state.efer = sregs.efer;
  return {.id = vcpu_.id(), .activity = activity_of(vcpu_.mp_state()), .registers = state};
}

HangWatch::Sample VcpuThread::sample() const {
  constexpr uint64_t kInterruptFlag = 1 << 9;
  const kvm_regs regs = get_regs(vcpu_);
  const std::string_view bytes(reinterpret_cast<const char*>(&regs), sizeof regs);
  return {.id = vcpu_.id(),
          .activity = activity_of(vcpu_.mp_state()),
          .interrupts_on = (regs.rflags & kInterruptFlag) != 0,
          .registers = std::hash<std::string_view>()(bytes),
          .exits = exits(),
          .cpu_time = cpu_time()};
}

// The instruction at RIP: what KVM stored with the exit, else what the guest's page tables lead to.
std::string VcpuThread::instruction_bytes() const {
  const kvm_run& state = vcpu_.state();
  const auto& failure = state.emulation_failure;
  std::string text;
  if (failure.ndata >= 3 && (failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0) {
    const size_t size = std::min<size_t>(failure.insn_size, sizeof failure.insn_bytes);
    for (size_t i = 0; i < size; ++i) text += fmt::format(" {:02x}", failure.insn_bytes[i]);
    return text;
  }
  const auto where = translate(vcpu_, get_sregs(vcpu_).cs.base + get_regs(vcpu_).rip);
  if (!where) return " (not readable)";
  for (uint64_t i = 0; i < 15; ++i) {
    const auto byte = world_.memory.read<uint8_t>(GuestAddress{where->value + i});
    if (!byte) break;
    text += fmt::format(" {:02x}", *byte);
  }
  return text;
}

Outcome VcpuThread::triple_fault() const {
  const kvm_sregs sregs = get_sregs(vcpu_);
  const kvm_regs regs = get_regs(vcpu_);
  const std::string exits = "last exits: " + last_exits();
  // On AMD, KVM resets the vCPU before it says that it shut down (shutdown_interception() in arch/x86/kvm/svm/svm.c).
  constexpr uint64_t kResetBase = 0xffff0000, kResetVector = 0xfff0;
  if (sregs.cs.base == kResetBase && regs.rip == kResetVector) {
    return {Outcome::Kind::kTripleFault, exit_code::kTripleFault,
            fmt::format("triple fault on vCPU {} (where is lost: on AMD, KVM resets the registers first)", vcpu_.id()),
            exits};
  }
  return {Outcome::Kind::kTripleFault, exit_code::kTripleFault,
          fmt::format("triple fault on vCPU {} at RIP {:#x} ({}), CR0 {:#x} CR2 {:#x}", vcpu_.id(), regs.rip,
                      cpu_mode(sregs), sregs.cr0, sregs.cr2),
          vcpu_.describe() + "\n" + exits};
}

Outcome VcpuThread::internal_error() {
  const uint32_t suberror = vcpu_.state().internal.suberror;
  Outcome outcome{Outcome::Kind::kKvmError, exit_code::kKvmError,
                  fmt::format("KVM internal error on vCPU {}: {} ({}) at RIP {:#x}", vcpu_.id(),
                              suberror_name(suberror), suberror, get_regs(vcpu_).rip),
                  vcpu_.describe() + "\ninstruction bytes:" + instruction_bytes() + "\nlast exits: " + last_exits()};
  if (Kvm::emulates_kernel_code()) {
    outcome.details +=
        "\nthis host's KVM only emulates kernel code (no svm or vmx in /proc/cpuinfo): stock kernels do not run here"
        "\n  fix: run it in the lab: tools/lab -- vmm ...";
  }
  return outcome;
}

}  // namespace vmm
