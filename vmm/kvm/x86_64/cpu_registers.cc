// Register ioctls; see cpu_registers.h.
#include "vmm/kvm/x86_64/cpu_registers.h"

#include <cpuid.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "vmm/kvm/x86_64/registers.h"

namespace vmm {

namespace {

constexpr uint32_t kMsrKernelGsBase = 0xc0000102;
constexpr uint32_t kFeatureLeaf = 1;
constexpr uint32_t kXsaveLeaf = 0xd;
constexpr uint32_t kAvxState = 2;             // the component's number
constexpr size_t kXsaveHeader = 512;          // XSTATE_BV, then others
constexpr uint64_t kLegacyComponents = 0b11;  // x87 and SSE

bool same(const auto& one, const auto& other) { return std::memcmp(&one, &other, sizeof one) == 0; }

// Where the guest's XSAVE area has the upper halves of YMM, or nowhere. The layout is the host CPU's.
std::optional<size_t> ymm_offset(const Vcpu& vcpu) {
  if (!has_avx(vcpu)) return std::nullopt;
  unsigned size = 0, offset = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(kXsaveLeaf, kAvxState, &size, &offset, &ecx, &edx) == 0) return std::nullopt;
  if (size < sizeof(CpuRegisters::ymm_high) || offset > sizeof(kvm_xsave) - size) return std::nullopt;
  return offset;
}

// The guest's XSAVE area, which is larger than kvm_xsave where it has AMX; empty when KVM does not give it.
std::vector<std::byte> get_xsave(const Vcpu& vcpu) {
  unsigned eax = 0, ebx = 0, largest = 0, edx = 0;
  __get_cpuid_count(kXsaveLeaf, 0, &eax, &ebx, &largest, &edx);
  std::vector<std::byte> area(std::max<size_t>(sizeof(kvm_xsave), largest));
#ifdef KVM_GET_XSAVE2
  if (kvm_ioctl(vcpu.fd(), KVM_GET_XSAVE2, area.data()) >= 0) return area;
#endif
  if (kvm_ioctl(vcpu.fd(), KVM_GET_XSAVE, area.data()) < 0) area.clear();
  return area;
}

}  // namespace

bool has_avx(const Vcpu& vcpu) {
  constexpr uint32_t kMaxLeaves = 256, kAvx = 1u << 28;
  std::vector<uint64_t> buffer((sizeof(kvm_cpuid2) + kMaxLeaves * sizeof(kvm_cpuid_entry2)) / sizeof(uint64_t));
  auto* list = reinterpret_cast<kvm_cpuid2*>(buffer.data());
  list->nent = kMaxLeaves;
  if (kvm_ioctl(vcpu.fd(), KVM_GET_CPUID2, list) < 0) return false;
  return std::ranges::any_of(std::span(list->entries, list->nent), [](const kvm_cpuid_entry2& leaf) {
    return leaf.function == kFeatureLeaf && (leaf.ecx & kAvx) != 0;
  });
}

// FXSAVE has a bit for each physical register that is in use; gdb wants two: valid, zero, special, empty (Intel SDM 1,
// §8.1.7 and table 10-2).
uint16_t full_tags(const CpuRegisters::Fxsave& fpu) {
  constexpr unsigned kValid = 0, kZero = 1, kSpecial = 2, kEmpty = 3;
  const unsigned top = fpu.fsw >> 11 & 7;
  unsigned tags = 0;
  for (unsigned physical = 0; physical < 8; ++physical) {
    unsigned tag = kEmpty;
    if ((fpu.ftw >> physical & 1) != 0) {
      const auto& bytes = fpu.st[(physical + 8 - top) % 8];
      uint64_t mantissa = 0;
      uint16_t exponent = 0;
      std::memcpy(&mantissa, bytes.data(), sizeof mantissa);
      std::memcpy(&exponent, bytes.data() + sizeof mantissa, sizeof exponent);
      exponent &= 0x7fff;
      const bool normal = exponent != 0 && exponent != 0x7fff && mantissa >> 63 != 0;
      tag = normal ? kValid : exponent == 0 && mantissa == 0 ? kZero : kSpecial;
    }
    tags |= tag << (2 * physical);
  }
  return static_cast<uint16_t>(tags);
}

uint8_t short_tags(uint16_t tags) {
  unsigned used = 0;
  for (unsigned physical = 0; physical < 8; ++physical) {
    if ((tags >> (2 * physical) & 3) != 3) used |= 1u << physical;
  }
  return static_cast<uint8_t>(used);
}

CpuRegisters read_registers(const Vcpu& vcpu) {
  CpuRegisters registers;
  registers.general = get_regs(vcpu);
  registers.system = get_sregs(vcpu);
  registers.kernel_gs_base = get_msr(vcpu, kMsrKernelGsBase).value_or(0);
  const std::vector<std::byte> area = get_xsave(vcpu);
  if (area.empty()) return registers;
  std::memcpy(&registers.fpu, area.data(), sizeof registers.fpu);
  registers.x87_tags = full_tags(registers.fpu);
  uint64_t present = 0;
  std::memcpy(&present, area.data() + kXsaveHeader, sizeof present);
  const auto ymm = ymm_offset(vcpu);
  // A component in its initial state is not stored.
  if (ymm && (present >> kAvxState & 1) != 0) {
    std::memcpy(&registers.ymm_high, area.data() + *ymm, sizeof registers.ymm_high);
  }
  return registers;
}

bool write_registers(const Vcpu& vcpu, const CpuRegisters& before, const CpuRegisters& wanted) {
  bool taken = true;
  if (!same(before.general, wanted.general)) {
    taken = kvm_ioctl(vcpu.fd(), KVM_SET_REGS, &wanted.general) >= 0;
  }
  if (!same(before.system, wanted.system)) {
    taken = kvm_ioctl(vcpu.fd(), KVM_SET_SREGS, &wanted.system) >= 0 && taken;
  }
  if (before.kernel_gs_base != wanted.kernel_gs_base) {
    taken = set_msr(vcpu, kMsrKernelGsBase, wanted.kernel_gs_base) && taken;
  }
  CpuRegisters::Fxsave fpu = wanted.fpu;
  if (before.x87_tags != wanted.x87_tags) fpu.ftw = short_tags(wanted.x87_tags);
  if (same(before.fpu, fpu) && before.ymm_high == wanted.ymm_high) return taken;
  std::vector<std::byte> area = get_xsave(vcpu);
  if (area.empty()) return false;
  uint64_t present = 0;
  std::memcpy(&present, area.data() + kXsaveHeader, sizeof present);
  present |= kLegacyComponents;
  std::memcpy(area.data(), &fpu, sizeof fpu);
  if (const auto ymm = ymm_offset(vcpu); ymm && before.ymm_high != wanted.ymm_high) {
    present |= uint64_t{1} << kAvxState;
    std::memcpy(area.data() + *ymm, &wanted.ymm_high, sizeof wanted.ymm_high);
  }
  std::memcpy(area.data() + kXsaveHeader, &present, sizeof present);
  return kvm_ioctl(vcpu.fd(), KVM_SET_XSAVE, area.data()) >= 0 && taken;
}

}  // namespace vmm
