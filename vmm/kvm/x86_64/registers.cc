// The register ioctls of x86; see registers.h.
#include "vmm/kvm/x86_64/registers.h"

#include <fmt/core.h>

#include <cstddef>
#include <string>

#include "vmm/core/error.h"

namespace vmm {

namespace {

void set(const Vcpu& vcpu, unsigned long request, const void* registers) {
  if (const int result = kvm_ioctl(vcpu.fd(), request, registers); result < 0) {
    throw Error(fmt::format("KVM refuses the registers of vCPU {}: {}", vcpu.id(), errno_text(-result)),
                "see what it says: dmesg | grep -i kvm");
  }
}

// A list of one. (Compilers take the list's array, which has no length, at its word.)
struct OneMsr {
  explicit OneMsr(uint32_t index, uint64_t value = 0) {
    list->nmsrs = 1;
    *entry = {.index = index, .reserved = 0, .data = value};
  }

  alignas(kvm_msrs) std::byte bytes[sizeof(kvm_msrs) + sizeof(kvm_msr_entry)]{};
  kvm_msrs* const list = reinterpret_cast<kvm_msrs*>(bytes);
  kvm_msr_entry* const entry = reinterpret_cast<kvm_msr_entry*>(bytes + sizeof(kvm_msrs));
};

}  // namespace

kvm_regs get_regs(const Vcpu& vcpu) {
  kvm_regs regs{};
  kvm_ioctl(vcpu.fd(), KVM_GET_REGS, &regs);
  return regs;
}

kvm_sregs get_sregs(const Vcpu& vcpu) {
  kvm_sregs sregs{};
  kvm_ioctl(vcpu.fd(), KVM_GET_SREGS, &sregs);
  return sregs;
}

void set_regs(const Vcpu& vcpu, const kvm_regs& regs) { set(vcpu, KVM_SET_REGS, &regs); }
void set_sregs(const Vcpu& vcpu, const kvm_sregs& sregs) { set(vcpu, KVM_SET_SREGS, &sregs); }

std::optional<uint64_t> get_msr(const Vcpu& vcpu, uint32_t index) {
  OneMsr msr(index);
  return kvm_ioctl(vcpu.fd(), KVM_GET_MSRS, msr.list) == 1 ? std::optional<uint64_t>(msr.entry->data) : std::nullopt;
}

bool set_msr(const Vcpu& vcpu, uint32_t index, uint64_t value) {
  const OneMsr msr(index, value);
  return kvm_ioctl(vcpu.fd(), KVM_SET_MSRS, msr.list) == 1;
}

std::string Vcpu::describe() const {
  const kvm_regs r = get_regs(*this);
  const kvm_sregs s = get_sregs(*this);
  return fmt::format(
      "rip {:016x} rsp {:016x} rflags {:08x} cs {:04x} (base {:x})\n"
      "rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}\n"
      "rsi {:016x} rdi {:016x} rbp {:016x} r8  {:016x}\n"
      "r9  {:016x} r10 {:016x} r11 {:016x} r12 {:016x}\n"
      "r13 {:016x} r14 {:016x} r15 {:016x}\n"
      "cr0 {:08x} cr2 {:016x} cr3 {:016x} cr4 {:08x} efer {:04x}",
      r.rip, r.rsp, r.rflags, s.cs.selector, s.cs.base, r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.r8, r.r9,
      r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
}

}  // namespace vmm
