// CpuState: the registers of a vCPU when it stopped, as far as they are in a vmcore or lead to its kernel, and whether
// it was running at all. The architecture is told at run time: a vmcore need not be of the host's.
#pragma once

#include <array>
#include <cstdint>
#include <variant>

namespace vmm {

struct X86Registers {
  // A segment register with what the CPU keeps of its descriptor.
  struct Segment {
    uint16_t selector = 0;
    uint32_t limit = 0;
    uint32_t flags = 0;  // bits 23:20 and 15:8 of the descriptor's upper half: G, D/B, L, AVL; P, DPL, S, type
    uint64_t base = 0;
  };

  unsigned privilege = 0;  // CPL: 3 is user space
  uint64_t rip = 0;
  uint64_t rflags = 0;
  uint64_t rax = 0, rbx = 0, rcx = 0, rdx = 0, rsi = 0, rdi = 0, rbp = 0, rsp = 0;
  uint64_t r8 = 0, r9 = 0, r10 = 0, r11 = 0, r12 = 0, r13 = 0, r14 = 0, r15 = 0;
  Segment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
  uint64_t kernel_gs_base = 0;  // the base that SWAPGS exchanges with that of GS
  uint64_t cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0;
  uint64_t efer = 0;

  bool has_paging() const { return (cr0 >> 31 & 1) != 0; }               // CR0.PG
  bool in_real_mode() const { return (cr0 & 1) == 0 && rip <= 0xffff; }  // CR0.PE; where IP has 16 bits
};

struct Arm64Registers {
  std::array<uint64_t, 31> x{};
  uint64_t sp = 0;  // the one in use
  uint64_t pc = 0;
  uint64_t pstate = 0;  // as SPSR_EL1 has it
  // Not in a vmcore; zero there.
  uint64_t sctlr_el1 = 0, tcr_el1 = 0, ttbr0_el1 = 0, ttbr1_el1 = 0;
  uint64_t tpidr_el1 = 0;

  bool has_paging() const { return (sctlr_el1 & 1) != 0; }  // M
  bool at_el0() const { return (pstate & 0xc) == 0; }       // M[3:2]
};

struct CpuState {
  enum class Activity { kRunning, kHalted, kNotStarted };

  unsigned id = 0;
  Activity activity = Activity::kRunning;
  std::variant<X86Registers, Arm64Registers> registers;

  // Null when the CPU is of the other kind.
  const X86Registers* x86() const { return std::get_if<X86Registers>(&registers); }
  X86Registers* x86() { return std::get_if<X86Registers>(&registers); }
  const Arm64Registers* arm64() const { return std::get_if<Arm64Registers>(&registers); }
  Arm64Registers* arm64() { return std::get_if<Arm64Registers>(&registers); }

  bool has_paging() const { return x86() != nullptr ? x86()->has_paging() : arm64()->has_paging(); }
  uint64_t pc() const { return x86() != nullptr ? x86()->rip : arm64()->pc; }
  bool in_user_space() const { return x86() != nullptr ? x86()->privilege == 3 : arm64()->at_el0(); }
};

}  // namespace vmm
