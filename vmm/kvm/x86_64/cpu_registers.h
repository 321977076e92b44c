// CpuRegisters: all of a CPU's registers that a debugger shows, copied out of KVM and back.
//
// The floating-point and vector registers are in the layout of FXSAVE, the upper halves of YMM beside it (Intel SDM 1,
// §10.5.1 and §13.4).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "vmm/kvm/vcpu.h"

namespace vmm {

struct CpuRegisters {
  // The legacy region of an XSAVE area. A register of the x87 takes 16 bytes, of which it uses 10.
  struct Fxsave {
    uint16_t fcw, fsw;
    uint8_t ftw;  // abridged: a bit for each register that is not empty
    uint8_t reserved;
    uint16_t fop;
    uint32_t fip;
    uint16_t fcs, reserved2;
    uint32_t fdp;
    uint16_t fds, reserved3;
    uint32_t mxcsr, mxcsr_mask;
    std::array<std::array<std::byte, 16>, 8> st;
    std::array<std::array<std::byte, 16>, 16> xmm;
    std::array<std::byte, 96> unused;
  };

  kvm_regs general{};
  kvm_sregs system{};
  uint64_t kernel_gs_base = 0;
  Fxsave fpu{};
  // The x87's tags as gdb and FNSAVE have them: two bits each, by physical register. It is told from `fpu`; one that is
  // written changes ftw there.
  uint16_t x87_tags = 0xffff;
  std::array<std::array<std::byte, 16>, 16> ymm_high{};
};
static_assert(sizeof(CpuRegisters::Fxsave) == 512);

uint16_t full_tags(const CpuRegisters::Fxsave& fpu);
uint8_t short_tags(uint16_t tags);

// At rest, as all calls of Vcpu. What the host does not tell is zero.
CpuRegisters read_registers(const Vcpu& vcpu);
// Writes what differs from `before`. False when KVM refuses some of it; the rest may have been written.
bool write_registers(const Vcpu& vcpu, const CpuRegisters& before, const CpuRegisters& wanted);
// Whether its CPUID shows AVX, so that there are YMM registers.
bool has_avx(const Vcpu& vcpu);

}  // namespace vmm
