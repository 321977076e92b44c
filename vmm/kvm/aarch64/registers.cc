// KVM_ARM_VCPU_INIT, and what a vCPU is called; see registers.h.
#include "vmm/kvm/aarch64/registers.h"

#include <fmt/core.h>

#include <cstddef>
#include <string>

#include "vmm/core/error.h"
#include "vmm/kvm/aarch64/cpu_registers.h"

namespace vmm {

namespace {

// A core register's number is its place in kvm_regs, counted in words of 32 bits.
constexpr uint64_t core(size_t offset) {
  return KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | offset / sizeof(uint32_t);
}
constexpr uint64_t kX0 = core(offsetof(kvm_regs, regs.regs));
constexpr uint64_t kPc = core(offsetof(kvm_regs, regs.pc));
constexpr uint64_t kMpidrEl1 = ARM64_SYS_REG(3, 0, 0, 0, 5);
constexpr uint64_t kAffinity = 0xff00ffffff;  // Arm ARM, MPIDR_EL1: Aff3 and Aff2 to Aff0

uint64_t get(const Vcpu& vcpu, uint64_t number) {
  uint64_t value = 0;
  const kvm_one_reg request{.id = number, .addr = reinterpret_cast<uint64_t>(&value)};
  kvm_ioctl(vcpu.fd(), KVM_GET_ONE_REG, &request);
  return value;
}

void set(const Vcpu& vcpu, uint64_t number, uint64_t value) {
  const kvm_one_reg request{.id = number, .addr = reinterpret_cast<uint64_t>(&value)};
  require(kvm_ioctl(vcpu.fd(), KVM_SET_ONE_REG, &request), "set a register");
}

}  // namespace

void init_vcpu(const Vm& vm, const Vcpu& vcpu) {
  kvm_vcpu_init init{};
  require(kvm_ioctl(vm.fd(), KVM_ARM_PREFERRED_TARGET, &init), "say what CPU this is");
  init.features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2;
  if (vcpu.id() != 0) init.features[0] |= 1u << KVM_ARM_VCPU_POWER_OFF;
  require(kvm_ioctl(vcpu.fd(), KVM_ARM_VCPU_INIT, &init), "make a vCPU like this host's CPU");
}

void set_entry(const Vcpu& vcpu, uint64_t pc, uint64_t x0) {
  set(vcpu, kPc, pc);
  set(vcpu, kX0, x0);
}

uint64_t affinity(const Vcpu& vcpu) { return get(vcpu, kMpidrEl1) & kAffinity; }

std::string Vcpu::describe() const {
  const CpuRegisters r = read_registers(*this);
  std::string text = fmt::format("pc  {:016x} sp  {:016x} pstate {:08x}", r.pc, r.sp, r.pstate);
  for (size_t i = 0; i < r.x.size(); ++i) {
    text += fmt::format("{}x{:<2} {:016x}", i % 4 == 0 ? "\n" : " ", i, r.x[i]);
  }
  return text + fmt::format("\nsctlr_el1 {:x} esr_el1 {:x} far_el1 {:016x}", r.sctlr_el1, r.esr_el1, r.far_el1);
}

}  // namespace vmm
