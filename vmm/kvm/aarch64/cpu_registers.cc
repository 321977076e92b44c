// One ioctl for each register; see cpu_registers.h.
#include "vmm/kvm/aarch64/cpu_registers.h"

#include <cstring>
#include <vector>

#include "vmm/kvm/aarch64/registers.h"

namespace vmm {

namespace {

// Where a register is in CpuRegisters, and what KVM calls it, its size included.
struct Place {
  size_t offset;
  uint64_t id;
  size_t size() const { return size_t{1} << ((id & KVM_REG_SIZE_MASK) >> KVM_REG_SIZE_SHIFT); }
};

constexpr uint64_t core(size_t offset, uint64_t size = KVM_REG_SIZE_U64) {
  return KVM_REG_ARM64 | size | KVM_REG_ARM_CORE | offset / sizeof(uint32_t);
}

const std::vector<Place>& places() {
  static const std::vector<Place> all = [] {
    std::vector<Place> list{
        {offsetof(CpuRegisters, pc), core(offsetof(kvm_regs, regs.pc))},
        {offsetof(CpuRegisters, pstate), core(offsetof(kvm_regs, regs.pstate))},
        {offsetof(CpuRegisters, fpsr), core(offsetof(kvm_regs, fp_regs.fpsr), KVM_REG_SIZE_U32)},
        {offsetof(CpuRegisters, fpcr), core(offsetof(kvm_regs, fp_regs.fpcr), KVM_REG_SIZE_U32)},
        {offsetof(CpuRegisters, sp_el0), core(offsetof(kvm_regs, regs.sp))},
        {offsetof(CpuRegisters, elr_el1), core(offsetof(kvm_regs, elr_el1))},
        {offsetof(CpuRegisters, spsr_el1), core(offsetof(kvm_regs, spsr))},
        {offsetof(CpuRegisters, esr_el1), ARM64_SYS_REG(3, 0, 5, 2, 0)},
        {offsetof(CpuRegisters, far_el1), ARM64_SYS_REG(3, 0, 6, 0, 0)},
        {offsetof(CpuRegisters, sctlr_el1), ARM64_SYS_REG(3, 0, 1, 0, 0)},
        {offsetof(CpuRegisters, tcr_el1), ARM64_SYS_REG(3, 0, 2, 0, 2)},
        {offsetof(CpuRegisters, ttbr0_el1), ARM64_SYS_REG(3, 0, 2, 0, 0)},
        {offsetof(CpuRegisters, ttbr1_el1), ARM64_SYS_REG(3, 0, 2, 0, 1)},
        {offsetof(CpuRegisters, mair_el1), ARM64_SYS_REG(3, 0, 10, 2, 0)},
        {offsetof(CpuRegisters, vbar_el1), ARM64_SYS_REG(3, 0, 12, 0, 0)},
        {offsetof(CpuRegisters, contextidr_el1), ARM64_SYS_REG(3, 0, 13, 0, 1)},
        {offsetof(CpuRegisters, tpidr_el0), ARM64_SYS_REG(3, 3, 13, 0, 2)},
        {offsetof(CpuRegisters, tpidr_el1), ARM64_SYS_REG(3, 0, 13, 0, 4)},
    };
    for (size_t i = 0; i < 31; ++i) {
      list.push_back({offsetof(CpuRegisters, x) + i * 8, core(offsetof(kvm_regs, regs.regs) + i * 8)});
    }
    for (size_t i = 0; i < 32; ++i) {
      list.push_back(
          {offsetof(CpuRegisters, v) + i * 16, core(offsetof(kvm_regs, fp_regs.vregs) + i * 16, KVM_REG_SIZE_U128)});
    }
    return list;
  }();
  return all;
}

constexpr uint64_t kSpEl1 = core(offsetof(kvm_regs, sp_el1));
constexpr uint64_t kSpEl0 = core(offsetof(kvm_regs, regs.sp));

uint64_t sp_in_use(uint64_t pstate) { return (pstate & kPstateMode) == kPstateEl1h ? kSpEl1 : kSpEl0; }

bool transfer(const Vcpu& vcpu, unsigned long order, uint64_t id, const void* place) {
  const kvm_one_reg request{.id = id, .addr = reinterpret_cast<uint64_t>(place)};
  return kvm_ioctl(vcpu.fd(), order, &request) >= 0;
}

}  // namespace

CpuRegisters read_registers(const Vcpu& vcpu) {
  CpuRegisters registers;
  auto* const bytes = reinterpret_cast<std::byte*>(&registers);
  for (const Place& place : places()) transfer(vcpu, KVM_GET_ONE_REG, place.id, bytes + place.offset);
  transfer(vcpu, KVM_GET_ONE_REG, sp_in_use(registers.pstate), &registers.sp);
  return registers;
}

bool write_registers(const Vcpu& vcpu, const CpuRegisters& before, const CpuRegisters& wanted) {
  const auto* const old_bytes = reinterpret_cast<const std::byte*>(&before);
  const auto* const bytes = reinterpret_cast<const std::byte*>(&wanted);
  bool taken = true;
  for (const Place& place : places()) {
    if (std::memcmp(old_bytes + place.offset, bytes + place.offset, place.size()) == 0) continue;
    taken = transfer(vcpu, KVM_SET_ONE_REG, place.id, bytes + place.offset) && taken;
  }
  if (before.sp == wanted.sp) return taken;
  return transfer(vcpu, KVM_SET_ONE_REG, sp_in_use(wanted.pstate), &wanted.sp) && taken;
}

}  // namespace vmm
