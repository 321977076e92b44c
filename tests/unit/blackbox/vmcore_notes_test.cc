// The notes of a vmcore: registers there and back, and notes that are not whole.
#include "vmm/blackbox/vmcore_notes.h"

#include <elf.h>
#include <sys/procfs.h>
#include <sys/user.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <string>

using namespace vmm;

namespace {

CpuState some_cpu() {
  X86Registers cpu;
  cpu.rip = 0xffffffff81001234;
  cpu.rflags = 0x246;
  cpu.rax = 1;
  cpu.r15 = 15;
  cpu.rsp = 0xffffc90000003f00;
  cpu.cs = {.selector = 0x10, .limit = 0xffffffff, .flags = 0xaf9b00, .base = 0};
  cpu.ss = {.selector = 0x18, .limit = 0xffffffff, .flags = 0xcf9300, .base = 0};
  cpu.gs = {.selector = 0, .limit = 0, .flags = 0, .base = 0xffff88803fc00000};
  cpu.idt = {.selector = 0, .limit = 0xfff, .flags = 0, .base = 0xfffffe0000000000};
  cpu.kernel_gs_base = 7;
  cpu.cr0 = 0x80050033;
  cpu.cr2 = 0xdead;
  cpu.cr3 = 0x1234000;
  cpu.cr4 = 0x6f0;
  return {.id = 3, .registers = cpu};
}

std::vector<Note> all(std::span<const std::byte> notes) {
  std::vector<Note> found;
  for_each_note(notes, [&](const Note& note) { found.push_back(note); });
  return found;
}

}  // namespace

TEST_CASE("vmcore notes: one with its name, type and bytes is found again, those behind it too", "[vmcore]") {
  std::vector<std::byte> notes;
  const std::string text = "OSRELEASE=6.1\n";
  append_note(notes, {kVmcoreinfoNote, 0, std::as_bytes(std::span(text))});
  append_note(notes, {"A", 7, {}});
  CHECK(notes.size() == 12 + 12 + 16 + 12 + 4);
  const auto found = all(notes);
  REQUIRE(found.size() == 2);
  CHECK(found[0].is("VMCOREINFO", 0));
  CHECK(found[0].bytes.size() == text.size());
  CHECK(found[1].is("A", 7));
}

TEST_CASE("vmcore notes: a vCPU's registers are where struct elf_prstatus has them", "[vmcore]") {
  std::vector<std::byte> notes;
  append_registers(notes, std::array{some_cpu()}, {});
  const Note note = all(notes).front();
  REQUIRE(note.is("CORE", NT_PRSTATUS));
  REQUIRE(note.bytes.size() == sizeof(elf_prstatus));
  elf_prstatus status;
  std::memcpy(&status, note.bytes.data(), sizeof status);
  user_regs_struct regs;
  std::memcpy(&regs, &status.pr_reg, sizeof regs);
  CHECK(status.pr_pid == 4);
  CHECK(regs.rip == 0xffffffff81001234);
  CHECK(regs.eflags == 0x246);
  CHECK(regs.r15 == 15);
  CHECK(regs.rax == 1);
  CHECK(regs.rsp == 0xffffc90000003f00);
  CHECK(regs.cs == 0x10);
  CHECK(regs.ss == 0x18);
  CHECK(regs.gs_base == 0xffff88803fc00000);
}

TEST_CASE("vmcore notes: the PID is that of the task, or the vCPU's number where none is known", "[vmcore]") {
  std::vector<std::byte> notes;
  const std::array<std::optional<uint32_t>, 2> pids{1234, std::nullopt};
  append_registers(notes, std::array{some_cpu(), some_cpu(), some_cpu()}, pids);
  std::vector<int> found;
  for (const Note& note : all(notes)) {
    if (!note.is("CORE", NT_PRSTATUS)) continue;
    elf_prstatus status;
    std::memcpy(&status, note.bytes.data(), sizeof status);
    found.push_back(status.pr_pid);
  }
  CHECK(found == std::vector{1234, 4, 4});
}

TEST_CASE("vmcore notes: registers come back, those of control from QEMU's note alone", "[vmcore]") {
  std::vector<std::byte> notes;
  append_registers(notes, std::array{some_cpu(), CpuState()}, {});
  const auto found = all(notes);
  REQUIRE(found.size() == 4);
  const auto general_state = general_registers(found[0], EM_X86_64);
  REQUIRE(general_state);
  const X86Registers* general = general_state->x86();
  CHECK(general->rip == some_cpu().pc());
  CHECK(general->r15 == 15);
  CHECK(general->privilege == 0);
  CHECK(general->cr3 == 0);
  CHECK_FALSE(all_registers(found[0]));
  const auto whole_state = all_registers(found[2]);
  REQUIRE(whole_state);
  const X86Registers* whole = whole_state->x86();
  CHECK_FALSE(general_registers(found[2], EM_X86_64));
  CHECK(whole->rip == some_cpu().pc());
  CHECK(whole->rflags == 0x246);
  CHECK(whole->cs.flags == 0xaf9b00);
  CHECK(whole->idt.base == 0xfffffe0000000000);
  CHECK(whole->cr0 == 0x80050033);
  CHECK(whole->cr2 == 0xdead);
  CHECK(whole->cr3 == 0x1234000);
  CHECK(whole->cr4 == 0x6f0);
  CHECK(whole->kernel_gs_base == 7);
  CHECK(whole->efer != 0);
  CHECK(all_registers(found[3])->x86()->efer == 0);
}

TEST_CASE("vmcore notes: user space is told by its segments", "[vmcore]") {
  CpuState cpu = some_cpu();
  cpu.x86()->cs.selector = 0x33;
  cpu.x86()->ss.flags = 0xcff300;
  std::vector<std::byte> notes;
  append_registers(notes, std::array{cpu}, {});
  CHECK(general_registers(all(notes)[0], EM_X86_64)->in_user_space());
  CHECK(all_registers(all(notes)[1])->in_user_space());
}

TEST_CASE("vmcore notes: what is cut short or of a foreign size is passed over", "[vmcore]") {
  std::vector<std::byte> notes;
  append_registers(notes, std::array{some_cpu()}, {});
  CHECK(all(std::span(notes).first(notes.size() - 1)).size() == 1);
  CHECK(all(std::span(notes).first(11)).empty());
  const Note note = all(notes)[1];
  CHECK_FALSE(all_registers({note.name, note.type, note.bytes.first(note.bytes.size() - 1)}));
  CHECK_FALSE(general_registers({"CORE", NT_PRSTATUS, note.bytes.first(100)}, EM_X86_64));
  std::vector<std::byte> zeroes(24);
  append_note(zeroes, {"A", 7, {}});
  CHECK(all(zeroes).empty());
  const Elf64_Nhdr huge{.n_namesz = 0xffffffff, .n_descsz = 0xffffffff, .n_type = 1};
  CHECK(all(std::as_bytes(std::span(&huge, 1))).empty());
}

TEST_CASE("vmcore notes: an arm64 vCPU's registers are where its struct elf_prstatus has them, and come back",
          "[vmcore]") {
  Arm64Registers registers{.sp = 0x5b, .pc = 0xffff800008123456, .pstate = 0x600000c5};
  for (size_t i = 0; i < registers.x.size(); ++i) registers.x[i] = 100 + i;
  std::vector<std::byte> notes;
  append_registers(notes, std::array{CpuState{.id = 3, .registers = registers}}, {});
  const auto found = all(notes);
  REQUIRE(found.size() == 1);
  REQUIRE(found[0].is("CORE", NT_PRSTATUS));
  REQUIRE(found[0].bytes.size() == 392);
  const auto word = [&found](size_t offset) {
    uint64_t value = 0;
    std::memcpy(&value, found[0].bytes.data() + offset, sizeof value);
    return value;
  };
  CHECK(static_cast<uint32_t>(word(32)) == 4);  // pr_pid
  CHECK(word(112) == 100);
  CHECK(word(112 + 30 * 8) == 130);
  CHECK(word(112 + 31 * 8) == 0x5b);
  CHECK(word(112 + 32 * 8) == 0xffff800008123456);
  CHECK(word(112 + 33 * 8) == 0x600000c5);

  const auto again = general_registers(found[0], EM_AARCH64);
  REQUIRE(again);
  REQUIRE(again->arm64() != nullptr);
  CHECK(again->arm64()->x == registers.x);
  CHECK(again->arm64()->sp == 0x5b);
  CHECK(again->pc() == 0xffff800008123456);
  CHECK_FALSE(again->in_user_space());
  CHECK_FALSE(all_registers(found[0]));
  CHECK_FALSE(general_registers({"CORE", NT_PRSTATUS, found[0].bytes.first(383)}, EM_AARCH64));
}
