// Initial registers of x86 CPUs; see boot_state.h. Segment and control bits: Intel SDM 3A §2 and §3.
#include "vmm/kvm/x86_64/boot_state.h"

#include <asm/processor-flags.h>

#include <cstring>

#include "vmm/kvm/x86_64/registers.h"

namespace vmm {

namespace {

constexpr uint16_t kCodeSelector = 0x10;
constexpr uint16_t kDataSelector = 0x18;
constexpr uint16_t kTssSelector = 0x20;
constexpr uint16_t kRealModeVectors = 256;  // at address 0, of 4 bytes each
constexpr uint64_t kEferLme = 1 << 8;
constexpr uint64_t kEferLma = 1 << 10;
constexpr uint64_t kRflagsReserved = 1 << 1;

constexpr uint32_t kMsrMiscEnable = 0x1a0;
constexpr uint64_t kMiscEnableFastStrings = 1;
constexpr uint32_t kMsrMtrrDefaultType = 0x2ff;
constexpr uint64_t kMtrrEnabledWriteBack = 0x800 | 6;

constexpr size_t kApicLint0 = 0x350;
constexpr size_t kApicLint1 = 0x360;
constexpr uint32_t kApicModeExtInt = 7 << 8;
constexpr uint32_t kApicModeNmi = 4 << 8;

kvm_segment flat_segment(uint16_t selector, bool code, bool long_mode) {
  kvm_segment segment{};
  segment.limit = 0xffffffff;
  segment.selector = selector;
  segment.type = code ? 0xb : 0x3;  // accessed; execute and read, or read and write
  segment.present = 1;
  segment.s = 1;
  segment.g = 1;
  segment.l = code && long_mode;
  segment.db = !segment.l;
  return segment;
}

}  // namespace

void set_boot_state(const Vcpu& vcpu, const BootState& state) {
  kvm_sregs sregs = get_sregs(vcpu);
  sregs.cs = flat_segment(kCodeSelector, true, state.long_mode);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat_segment(kDataSelector, false, state.long_mode);
  sregs.tr = {};
  sregs.tr.limit = 0x67;
  sregs.tr.selector = kTssSelector;
  sregs.tr.type = 0xb;  // busy TSS
  sregs.tr.present = 1;
  sregs.gdt = {.base = state.gdt, .limit = state.gdt_limit, .padding = {}};
  sregs.idt = {.base = 0, .limit = kRealModeVectors * 4 - 1, .padding = {}};
  sregs.cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
  if (state.long_mode) {
    sregs.cr0 |= X86_CR0_PG;
    sregs.cr3 = state.page_tables;
    sregs.cr4 = X86_CR4_PAE;
    sregs.efer = kEferLme | kEferLma;
  }
  set_sregs(vcpu, sregs);

  kvm_regs regs{};
  regs.rip = state.rip;
  regs.rax = state.rax;
  regs.rbx = state.rbx;
  regs.rsi = state.rsi;
  regs.rsp = state.rsp;
  regs.rflags = kRflagsReserved;  // interrupts off
  set_regs(vcpu, regs);
}

void set_firmware_state(const Vcpu& vcpu) {
  // The others say what KVM has not: Intel's performance monitoring finds that it is unavailable.
  set_msr(vcpu, kMsrMiscEnable, get_msr(vcpu, kMsrMiscEnable).value_or(0) | kMiscEnableFastStrings);
  set_msr(vcpu, kMsrMtrrDefaultType, kMtrrEnabledWriteBack);
  if (vcpu.id() != 0) return;
  kvm_lapic_state apic{};
  if (kvm_ioctl(vcpu.fd(), KVM_GET_LAPIC, &apic) < 0) return;
  std::memcpy(apic.regs + kApicLint0, &kApicModeExtInt, sizeof kApicModeExtInt);
  std::memcpy(apic.regs + kApicLint1, &kApicModeNmi, sizeof kApicModeNmi);
  kvm_ioctl(vcpu.fd(), KVM_SET_LAPIC, &apic);
}

}  // namespace vmm
