// The notes of a vmcore, each a name, a type and bytes: gABI, "Note Section". Those that tell of a machine:
//
//   "CORE" NT_PRSTATUS   the general registers of a vCPU: struct elf_prstatus, as in any core file. pr_pid is, as in
//                        kdump's, that of the task it was running: `drgn` takes the registers for those of a task only
//                        if it has this PID. Where that is not known it is the vCPU's number, from 1.
//   "QEMU" 0             all of its registers, of an x86 one: QEMUCPUState of target/i386/arch_dump.c in QEMU. With it
//                        `crash` believes that a CPU was where its registers say, rather than to look for the frame of
//                        kdump's NMI
//   "VMCOREINFO" 0       the kernel's own text, for `crash`, `drgn` and makedumpfile
//
// There is one of each of the first two for every vCPU, in the order of their IDs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "vmm/blackbox/cpu_state.h"

namespace vmm {

struct Note {
  std::string_view name;  // without its NUL
  uint32_t type = 0;
  std::span<const std::byte> bytes;

  bool is(std::string_view wanted_name, uint32_t wanted_type) const {
    return name == wanted_name && type == wanted_type;
  }
};

constexpr std::string_view kVmcoreinfoNote = "VMCOREINFO";

void append_note(std::vector<std::byte>& notes, const Note& note);
// `pids`: of the task that each of them runs; may be shorter, or not know.
void append_registers(std::vector<std::byte>& notes, std::span<const CpuState> cpus,
                      std::span<const std::optional<uint32_t>> pids);

// Visits the notes that are whole, in order, up to an empty one.
void for_each_note(std::span<const std::byte> notes, const std::function<void(const Note&)>& visit);
// A vCPU's registers as far as the note has them; empty when it is another note, or too short. `machine`: EM_X86_64 or
// EM_AARCH64.
std::optional<CpuState> general_registers(const Note& note, uint16_t machine);
std::optional<CpuState> all_registers(const Note& note);  // all registers of an x86 CPU's note

}  // namespace vmm
