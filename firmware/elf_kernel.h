// ELF kernels: a vmlinux with a PVH note, or a kernel with a Multiboot header in an ELF container.
//
// Program headers say what goes where; section headers are not looked at. ELF is specified by the System V ABI
// (generic part, chapters 4 and 5), the note by Xen (xen/include/public/elfnote.h).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "firmware/byte_source.h"
#include "firmware/segments.h"

namespace vmm {

bool is_elf(const ByteSource& file);
// Throws Error saying what is wrong with it, or what it is instead of a kernel that we can start.
SegmentedKernel parse_elf_kernel(const ByteSource& file);

// An ELF file that is only looked at: its segments are as the file says, and checked against nothing.
struct ElfContents {
  std::optional<uint64_t> pvh_entry;
  std::vector<Segment> segments;
};
// Throws Error when it is not an ELF file for x86.
ElfContents read_elf_contents(const ByteSource& file);

}  // namespace vmm
