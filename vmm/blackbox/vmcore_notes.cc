// Registers to bytes and back; see vmcore_notes.h.
#include "vmm/blackbox/vmcore_notes.h"

#include <elf.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <variant>

namespace vmm {

namespace {

constexpr std::string_view kCore = "CORE";
constexpr std::string_view kQemu = "QEMU";
constexpr uint32_t kQemuVersion = 1;
constexpr size_t kAlignment = 4;

struct QemuSegment {
  uint32_t selector, limit, flags, padding;
  uint64_t base;
};
struct QemuCpuState {
  uint32_t version, size;
  uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags;
  QemuSegment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
  uint64_t cr0, cr1, cr2, cr3, cr4;
  uint64_t kernel_gs_base;
};
static_assert(sizeof(QemuCpuState) == 440);

// Structures of <sys/user.h> and <sys/procfs.h>, of which a host has its own alone.
struct X86UserRegisters {
  uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags, rsp, ss;
  uint64_t fs_base, gs_base, ds, es, fs, gs;
};
struct Arm64UserRegisters {
  std::array<uint64_t, 31> x;
  uint64_t sp, pc, pstate;
};
template <typename UserRegisters>
struct PrStatus {
  std::array<std::byte, 32> unused;  // of signals
  uint32_t pr_pid, pr_ppid, pr_pgrp, pr_sid;
  std::array<std::byte, 64> times;
  UserRegisters pr_reg;
  int32_t pr_fpvalid;
};
using X86Status = PrStatus<X86UserRegisters>;
using Arm64Status = PrStatus<Arm64UserRegisters>;
static_assert(offsetof(X86Status, pr_pid) == 32 && offsetof(X86Status, pr_reg) == 112 && sizeof(X86Status) == 336);
static_assert(offsetof(Arm64Status, pr_reg) == 112 && sizeof(Arm64Status) == 392);

// Where each register is in the two forms; pr_reg of X86Status is an X86UserRegisters.
struct Register {
  uint64_t X86Registers::*register_;
  size_t in_qemu;
  size_t in_user_regs;
};
constexpr auto kRegisters = std::to_array<Register>({
    {&X86Registers::rax, offsetof(QemuCpuState, rax), offsetof(X86UserRegisters, rax)},
    {&X86Registers::rbx, offsetof(QemuCpuState, rbx), offsetof(X86UserRegisters, rbx)},
    {&X86Registers::rcx, offsetof(QemuCpuState, rcx), offsetof(X86UserRegisters, rcx)},
    {&X86Registers::rdx, offsetof(QemuCpuState, rdx), offsetof(X86UserRegisters, rdx)},
    {&X86Registers::rsi, offsetof(QemuCpuState, rsi), offsetof(X86UserRegisters, rsi)},
    {&X86Registers::rdi, offsetof(QemuCpuState, rdi), offsetof(X86UserRegisters, rdi)},
    {&X86Registers::rbp, offsetof(QemuCpuState, rbp), offsetof(X86UserRegisters, rbp)},
    {&X86Registers::rsp, offsetof(QemuCpuState, rsp), offsetof(X86UserRegisters, rsp)},
    {&X86Registers::r8, offsetof(QemuCpuState, r8), offsetof(X86UserRegisters, r8)},
    {&X86Registers::r9, offsetof(QemuCpuState, r9), offsetof(X86UserRegisters, r9)},
    {&X86Registers::r10, offsetof(QemuCpuState, r10), offsetof(X86UserRegisters, r10)},
    {&X86Registers::r11, offsetof(QemuCpuState, r11), offsetof(X86UserRegisters, r11)},
    {&X86Registers::r12, offsetof(QemuCpuState, r12), offsetof(X86UserRegisters, r12)},
    {&X86Registers::r13, offsetof(QemuCpuState, r13), offsetof(X86UserRegisters, r13)},
    {&X86Registers::r14, offsetof(QemuCpuState, r14), offsetof(X86UserRegisters, r14)},
    {&X86Registers::r15, offsetof(QemuCpuState, r15), offsetof(X86UserRegisters, r15)},
    {&X86Registers::rip, offsetof(QemuCpuState, rip), offsetof(X86UserRegisters, rip)},
    {&X86Registers::rflags, offsetof(QemuCpuState, rflags), offsetof(X86UserRegisters, eflags)},
});
struct SegmentRegister {
  X86Registers::Segment X86Registers::*segment;
  size_t in_qemu;
};
constexpr auto kSegments = std::to_array<SegmentRegister>({
    {&X86Registers::cs, offsetof(QemuCpuState, cs)},
    {&X86Registers::ds, offsetof(QemuCpuState, ds)},
    {&X86Registers::es, offsetof(QemuCpuState, es)},
    {&X86Registers::fs, offsetof(QemuCpuState, fs)},
    {&X86Registers::gs, offsetof(QemuCpuState, gs)},
    {&X86Registers::ss, offsetof(QemuCpuState, ss)},
    {&X86Registers::ldt, offsetof(QemuCpuState, ldt)},
    {&X86Registers::tr, offsetof(QemuCpuState, tr)},
    {&X86Registers::gdt, offsetof(QemuCpuState, gdt)},
    {&X86Registers::idt, offsetof(QemuCpuState, idt)},
});

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

template <typename T>
std::optional<T> value_at(std::span<const std::byte> bytes, size_t offset = 0) {
  if (offset > bytes.size() || sizeof(T) > bytes.size() - offset) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// A member of `object` by its offset.
template <typename T, typename Object>
void set_member(Object& object, size_t offset, const T& value) {
  std::memcpy(reinterpret_cast<std::byte*>(&object) + offset, &value, sizeof value);
}
template <typename T, typename Object>
T member(const Object& object, size_t offset) {
  return *value_at<T>(bytes_of(object), offset);
}

size_t padded(size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

X86UserRegisters to_user(const X86Registers& cpu) {
  X86UserRegisters regs{};
  for (const Register& entry : kRegisters) set_member(regs, entry.in_user_regs, cpu.*entry.register_);
  regs.cs = cpu.cs.selector;
  regs.ss = cpu.ss.selector;
  regs.ds = cpu.ds.selector;
  regs.es = cpu.es.selector;
  regs.fs = cpu.fs.selector;
  regs.gs = cpu.gs.selector;
  regs.fs_base = cpu.fs.base;
  regs.gs_base = cpu.gs.base;
  return regs;
}

Arm64UserRegisters to_user(const Arm64Registers& cpu) { return {cpu.x, cpu.sp, cpu.pc, cpu.pstate}; }

template <typename Registers>
auto to_prstatus(const Registers& registers, uint32_t pid) {
  PrStatus<decltype(to_user(registers))> status{};
  status.pr_pid = pid;
  status.pr_reg = to_user(registers);
  return status;
}

QemuCpuState to_qemu(const X86Registers& cpu) {
  QemuCpuState state{.version = kQemuVersion, .size = sizeof(QemuCpuState)};
  for (const Register& entry : kRegisters) set_member(state, entry.in_qemu, cpu.*entry.register_);
  for (const SegmentRegister& entry : kSegments) {
    const X86Registers::Segment& segment = cpu.*entry.segment;
    set_member(state, entry.in_qemu, QemuSegment{segment.selector, segment.limit, segment.flags, 0, segment.base});
  }
  state.cr0 = cpu.cr0;
  state.cr2 = cpu.cr2;
  state.cr3 = cpu.cr3;
  state.cr4 = cpu.cr4;
  state.kernel_gs_base = cpu.kernel_gs_base;
  return state;
}

}  // namespace

void append_note(std::vector<std::byte>& notes, const Note& note) {
  const auto append = [&notes](std::span<const std::byte> bytes, size_t size) {
    notes.insert(notes.end(), bytes.begin(), bytes.end());
    notes.resize(notes.size() + padded(size) - bytes.size());
  };
  const size_t name_size = note.name.size() + 1;
  const Elf64_Nhdr header{.n_namesz = static_cast<uint32_t>(name_size),
                          .n_descsz = static_cast<uint32_t>(note.bytes.size()),
                          .n_type = note.type};
  append(bytes_of(header), sizeof header);
  append(std::as_bytes(std::span(note.name)), name_size);
  append(note.bytes, note.bytes.size());
}

void append_registers(std::vector<std::byte>& notes, std::span<const CpuState> cpus,
                      std::span<const std::optional<uint32_t>> pids) {
  for (size_t i = 0; i < cpus.size(); ++i) {
    const uint32_t pid = i < pids.size() && pids[i] ? *pids[i] : cpus[i].id + 1;
    const auto append = [&notes, pid](const auto& registers) {
      append_note(notes, {kCore, NT_PRSTATUS, bytes_of(to_prstatus(registers, pid))});
    };
    std::visit(append, cpus[i].registers);
  }
  for (const CpuState& cpu : cpus) {
    if (cpu.x86() != nullptr) append_note(notes, {kQemu, 0, bytes_of(to_qemu(*cpu.x86()))});
  }
}

void for_each_note(std::span<const std::byte> notes, const std::function<void(const Note&)>& visit) {
  while (const auto header = value_at<Elf64_Nhdr>(notes)) {
    if (header->n_namesz == 0 && header->n_descsz == 0 && header->n_type == 0) return;
    notes = notes.subspan(sizeof *header);
    const size_t name_size = padded(header->n_namesz);
    if (name_size > notes.size() || header->n_descsz > notes.size() - name_size) return;
    std::string_view name(reinterpret_cast<const char*>(notes.data()), header->n_namesz);
    name = name.substr(0, name.find('\0'));
    visit({name, header->n_type, notes.subspan(name_size, header->n_descsz)});
    notes = notes.subspan(std::min(notes.size(), name_size + padded(header->n_descsz)));
  }
}

std::optional<CpuState> general_registers(const Note& note, uint16_t machine) {
  if (!note.is(kCore, NT_PRSTATUS)) return std::nullopt;
  if (machine == EM_AARCH64) {
    const auto regs = value_at<Arm64UserRegisters>(note.bytes, offsetof(Arm64Status, pr_reg));
    if (!regs) return std::nullopt;
    return CpuState{.registers = Arm64Registers{.x = regs->x, .sp = regs->sp, .pc = regs->pc, .pstate = regs->pstate}};
  }
  const auto regs = value_at<X86UserRegisters>(note.bytes, offsetof(X86Status, pr_reg));
  if (!regs) return std::nullopt;
  X86Registers cpu;
  for (const Register& entry : kRegisters) cpu.*entry.register_ = member<uint64_t>(*regs, entry.in_user_regs);
  cpu.cs.selector = static_cast<uint16_t>(regs->cs);
  cpu.privilege = regs->cs & 3;
  return CpuState{.registers = cpu};
}

std::optional<CpuState> all_registers(const Note& note) {
  const auto state = value_at<QemuCpuState>(note.bytes);
  if (!note.is(kQemu, 0) || !state || state->version != kQemuVersion) return std::nullopt;
  X86Registers cpu;
  for (const Register& entry : kRegisters) cpu.*entry.register_ = member<uint64_t>(*state, entry.in_qemu);
  for (const SegmentRegister& entry : kSegments) {
    const auto segment = member<QemuSegment>(*state, entry.in_qemu);
    cpu.*entry.segment = {static_cast<uint16_t>(segment.selector), segment.limit, segment.flags, segment.base};
  }
  cpu.privilege = cpu.ss.flags >> 13 & 3;  // DPL
  cpu.cr0 = state->cr0;
  cpu.cr2 = state->cr2;
  cpu.cr3 = state->cr3;
  cpu.cr4 = state->cr4;
  cpu.kernel_gs_base = state->kernel_gs_base;
  // EFER is not there. Of kernels that use PAE, those that we know are 64-bit ones.
  constexpr uint64_t kPae = 1 << 5, kLongModeActive = 1 << 10;
  if ((cpu.cr4 & kPae) != 0) cpu.efer = kLongModeActive;
  return CpuState{.registers = cpu};
}

}  // namespace vmm
