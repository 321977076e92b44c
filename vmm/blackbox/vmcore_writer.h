// Writing a vmcore: a machine's memory and registers as an ELF core file (ELF64, ET_CORE), as kdump and QEMU's
// dump-guest-memory make them, so that `crash`, `drgn`, makedumpfile and gdb read it.
//
//   ELF header | PT_NOTE | PT_LOADs | the notes (vmcore_notes.h) | to the next page | RAM
//
// There is a PT_LOAD for each range of RAM. Its p_paddr is the guest-physical address; its p_vaddr is where the kernel
// maps all of RAM, or the same where that is not known. As in kdump's one more says where the kernel's image is mapped:
// it is a part of RAM in the file as well, and `drgn` begins there. The file is as long as RAM, and sparse: pages of
// zeroes are holes. Or, when its name ends in .zst, it is compressed while it is written (seekable_zstd.h).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/blackbox/black_box.h"
#include "vmm/blackbox/cpu_state.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

struct VmcoreContents {
  const GuestMemory& memory;
  std::span<const CpuState> cpus;
  std::span<const std::optional<uint32_t>> pids = {};  // PID of the task on each CPU, as far as it is known
  // The kernel's VMCOREINFO and direct map, when one was found (black_box.h).
  std::string_view vmcoreinfo = {};
  std::optional<uint64_t> direct_map = {};
  std::optional<Mapping> image = {};
};

// Everything before RAM.
std::vector<std::byte> vmcore_head(const VmcoreContents& contents);

// Whether the name says that the file is to be compressed: it ends in .zst.
bool is_compressed_name(std::string_view path);

// Throws Error when no vmcore can be had at `path`, as far as that can be told without writing one.
void check_vmcore_path(const std::string& path);

// Replaces the file at once: it is whole, or what was there before. Takes a bounded amount of memory, and as long as
// the disk does; what is written to memory meanwhile may be in it or not. Throws Error: it cannot be written, or
// `give_up` became true.
void write_vmcore(const std::string& path, const VmcoreContents& contents, const std::atomic<bool>& give_up);

}  // namespace vmm
