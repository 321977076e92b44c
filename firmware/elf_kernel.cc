// ELF program headers and notes, for both classes; see elf_kernel.h. Every size and offset is bounded by the file or
// by a constant of ours before it is used.
#include "firmware/elf_kernel.h"

#include <elf.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "firmware/boot_setup.h"
#include "firmware/multiboot.h"
#include "vmm/core/error.h"

namespace vmm {
namespace {

constexpr uint32_t XEN_ELFNOTE_PHYS32_ENTRY = 18;
constexpr size_t kMaxProgramHeaders = 128;
constexpr uint64_t kMaxNotes = 64 * 1024;
constexpr uint32_t kLinuxCommandLineLimit = 2047;  // COMMAND_LINE_SIZE of x86, less the NUL

std::string machine_name(uint16_t machine) {
  switch (machine) {
    case EM_AARCH64:
      return "64-bit ARM";
    case EM_ARM:
      return "32-bit ARM";
    case EM_RISCV:
      return "RISC-V";
    case EM_PPC64:
      return "PowerPC";
    case EM_S390:
      return "S/390";
    default:
      return fmt::format("machine {}", machine);
  }
}

// The fields that we use, the same for both classes.
struct ProgramHeader {
  uint32_t type;
  uint64_t offset, virtual_address, physical_address, file_size, memory_size, alignment;
};
struct Elf {
  unsigned bits = 0;
  uint64_t entry = 0;
  std::vector<ProgramHeader> program_headers;
};

template <typename Ehdr, typename Phdr>
Elf read_headers(const ByteSource& file, unsigned bits) {
  const auto header = file.read_value<Ehdr>(0);
  if (!header) throw Error("it ends within its ELF header");
  if (header->e_machine != EM_X86_64 && header->e_machine != EM_386) {
    throw Error(fmt::format("an ELF file for another processor ({})", machine_name(header->e_machine)),
                "pass an x86-64 kernel");
  }
  if (header->e_type == ET_REL) throw Error("an ELF object file, perhaps a kernel module", "pass bzImage or vmlinux");
  if (header->e_type == ET_CORE) throw Error("an ELF core dump", "pass bzImage or vmlinux");
  if (header->e_type != ET_EXEC && header->e_type != ET_DYN) throw Error("an ELF file that is not executable");
  if (header->e_phentsize != sizeof(Phdr) || header->e_phnum == 0 || header->e_phnum > kMaxProgramHeaders) {
    throw Error(
        fmt::format("its ELF header announces {} program headers of {} bytes", header->e_phnum, header->e_phentsize));
  }
  Elf elf{bits, header->e_entry, {}};
  for (size_t index = 0; index < header->e_phnum; ++index) {
    uint64_t offset = 0;
    if (__builtin_add_overflow(uint64_t{header->e_phoff}, index * sizeof(Phdr), &offset)) offset = UINT64_MAX;
    const auto program = file.read_value<Phdr>(offset);
    if (!program) throw Error("its ELF program headers lie beyond the end of the file");
    elf.program_headers.push_back({program->p_type, program->p_offset, program->p_vaddr, program->p_paddr,
                                   program->p_filesz, program->p_memsz, program->p_align});
  }
  return elf;
}

Elf read_elf(const ByteSource& file) {
  const auto ident = file.read_value<std::array<uint8_t, EI_NIDENT>>(0);
  if (!ident) throw Error("it ends within its ELF header");
  if ((*ident)[EI_DATA] != ELFDATA2LSB) throw Error("an ELF file for a big-endian processor", "pass an x86-64 kernel");
  switch ((*ident)[EI_CLASS]) {
    case ELFCLASS64:
      return read_headers<Elf64_Ehdr, Elf64_Phdr>(file, 64);
    case ELFCLASS32:
      return read_headers<Elf32_Ehdr, Elf32_Phdr>(file, 32);
    default:
      throw Error("an ELF file of unknown class");
  }
}

// The entry point in a list of notes. A note is a header, a name and a description; the last two begin, and the next
// note too, at a multiple of the alignment. One that reaches beyond the list ends it: linkers mix alignments in one
// segment, and a kernel may have another way to be started.
std::optional<uint64_t> pvh_entry_in(std::string_view notes, uint64_t alignment) {
  constexpr std::string_view kXen("Xen\0", 4);
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr note;
    std::memcpy(&note, notes.data(), sizeof note);
    const uint64_t description_at = align_up(sizeof note + uint64_t{note.n_namesz}, alignment);
    const uint64_t end = description_at + note.n_descsz;
    if (end > notes.size()) break;
    if (notes.substr(sizeof note, note.n_namesz) == kXen && note.n_type == XEN_ELFNOTE_PHYS32_ENTRY) {
      if (note.n_descsz != 4 && note.n_descsz != 8) throw Error("its PVH note holds no address");
      uint64_t entry = 0;
      std::memcpy(&entry, notes.data() + description_at, note.n_descsz);
      return entry;
    }
    notes.remove_prefix(std::min<uint64_t>(notes.size(), align_up(end, alignment)));
  }
  return std::nullopt;
}

std::optional<uint64_t> find_pvh_entry(const Elf& elf, const ByteSource& file) {
  for (const ProgramHeader& header : elf.program_headers) {
    if (header.type != PT_NOTE) continue;
    if (header.offset > file.size() || header.file_size > file.size() - header.offset) {
      throw Error("its ELF notes lie beyond the end of the file");
    }
    const std::string notes = file.read_text(header.offset, std::min(header.file_size, kMaxNotes));
    if (const auto entry = pvh_entry_in(notes, header.alignment == 8 ? 8 : 4)) return entry;
  }
  return std::nullopt;
}

std::vector<Segment> load_segments_of(const Elf& elf) {
  std::vector<Segment> segments;
  for (const ProgramHeader& header : elf.program_headers) {
    if (header.type != PT_LOAD || (header.memory_size == 0 && header.file_size == 0)) continue;
    segments.push_back({header.offset, header.file_size, header.physical_address, header.memory_size});
  }
  return segments;
}

// Kernels that are linked to high virtual addresses give a virtual entry point; it is entered without paging.
uint64_t physical_entry(const Elf& elf) {
  for (const ProgramHeader& header : elf.program_headers) {
    if (header.type != PT_LOAD || elf.entry < header.virtual_address) continue;
    const uint64_t offset = elf.entry - header.virtual_address;
    if (offset < header.memory_size) return header.physical_address + offset;
  }
  return elf.entry;
}

}  // namespace

bool is_elf(const ByteSource& file) { return file.read_text(0, SELFMAG) == std::string_view(ELFMAG, SELFMAG); }

ElfContents read_elf_contents(const ByteSource& file) {
  const Elf elf = read_elf(file);
  return {find_pvh_entry(elf, file), load_segments_of(elf)};
}

SegmentedKernel parse_elf_kernel(const ByteSource& file) {
  const Elf elf = read_elf(file);
  SegmentedKernel kernel;
  if (const auto entry = find_pvh_entry(elf, file)) {
    kernel.info.kind = KernelKind::kPvh;
    kernel.info.entry = *entry;
    kernel.info.command_line_limit = kLinuxCommandLineLimit;
  } else if (const auto multiboot = find_multiboot_header(file)) {
    kernel = parse_multiboot(*multiboot, file);
    if (multiboot->header.has_addresses()) return kernel;  // §3.1.3: they take precedence over the ELF headers
    kernel.info.entry = physical_entry(elf);
  } else if (has_multiboot2_header(file)) {
    throw Error("its Multiboot header is one of version 2, which vmm does not know",
                "give the kernel a Multiboot header of version 1 as well, or a PVH note");
  } else if (elf.bits == 32) {
    throw Error("a 32-bit ELF file without a Multiboot header or PVH note", "pass an x86-64 bzImage or vmlinux");
  } else {
    throw Error("a 64-bit ELF file without a PVH note or Multiboot header",
                "build the kernel with CONFIG_PVH=y, or pass arch/x86/boot/bzImage");
  }
  kernel.segments = load_segments_of(elf);
  check_segments(kernel, file);
  kernel.info.summary = fmt::format("{}-bit ELF, entry {:#x}, {} segment{}", elf.bits, kernel.info.entry,
                                    kernel.segments.size(), kernel.segments.size() == 1 ? "" : "s");
  return kernel;
}

}  // namespace vmm
