// Tiny kernels of every kind, for tests and as seeds of fuzz targets. None of them does anything: their code is a
// filler by which a test finds them again in guest memory.
//
//   ElfBuilder(64).entry(kMiB).note(pvh_note(kMiB)).load(kMiB, "code").build()
//   flat_multiboot({.load_addr = kMiB}, "code")
//   bzimage([](setup_header& header) { header.init_size = 0; })
#pragma once

#include <asm/bootparam.h>
#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "firmware/multiboot.h"

namespace vmm::test {

template <typename T>
std::string bytes_as_text(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
template <typename T>
void poke(std::string& file, size_t offset, const T& value) {
  file.replace(offset, sizeof value, bytes_as_text(value));
}
inline std::span<const std::byte> as_file(std::string_view content) { return std::as_bytes(std::span(content)); }

// ---- ELF

class ElfBuilder {
 public:
  explicit ElfBuilder(unsigned bits) : bits_(bits), machine_(bits == 64 ? EM_X86_64 : EM_386) {}

  ElfBuilder& machine(uint16_t machine) {
    machine_ = machine;
    return *this;
  }
  ElfBuilder& type(uint16_t type) {
    type_ = type;
    return *this;
  }
  ElfBuilder& entry(uint64_t entry) {
    entry_ = entry;
    return *this;
  }
  // A PT_LOAD; without a memory size it is as long as its content, without a virtual address it is mapped one to one.
  ElfBuilder& load(uint64_t address, std::string content, uint64_t memory_size = 0, uint64_t virtual_address = 0) {
    return add(PT_LOAD, address, virtual_address, std::move(content), memory_size, 1);
  }
  ElfBuilder& note(std::string content, uint64_t alignment = 4) {
    return add(PT_NOTE, 0, 0, std::move(content), 0, alignment);
  }
  // Any values, for what no linker does. Its content is what the file happens to have at `offset`.
  ElfBuilder& raw(const Elf64_Phdr& header) {
    segments_.push_back({header, {}, true});
    return *this;
  }

  std::string build() const {
    return bits_ == 64 ? build_as<Elf64_Ehdr, Elf64_Phdr>() : build_as<Elf32_Ehdr, Elf32_Phdr>();
  }

 private:
  struct Part {
    Elf64_Phdr header;
    std::string content;
    bool raw = false;
  };

  ElfBuilder& add(uint32_t type, uint64_t address, uint64_t virtual_address, std::string content, uint64_t memory_size,
                  uint64_t alignment) {
    Elf64_Phdr header{};
    header.p_type = type;
    header.p_paddr = address;
    header.p_vaddr = virtual_address == 0 ? address : virtual_address;
    header.p_filesz = content.size();
    header.p_memsz = memory_size == 0 ? content.size() : memory_size;
    header.p_align = alignment;
    segments_.push_back({header, std::move(content), false});
    return *this;
  }

  template <typename Ehdr, typename Phdr>
  std::string build_as() const {
    Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = bits_ == 64 ? ELFCLASS64 : ELFCLASS32;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = type_;
    header.e_machine = machine_;
    header.e_version = EV_CURRENT;
    header.e_entry = static_cast<decltype(header.e_entry)>(entry_);
    header.e_phoff = sizeof(Ehdr);
    header.e_ehsize = sizeof(Ehdr);
    header.e_phentsize = sizeof(Phdr);
    header.e_phnum = static_cast<uint16_t>(segments_.size());

    std::string headers = bytes_as_text(header);
    std::string contents;
    size_t offset = sizeof(Ehdr) + segments_.size() * sizeof(Phdr);
    for (const Part& part : segments_) {
      offset = (offset + 3) & ~size_t{3};
      contents.resize(offset - sizeof(Ehdr) - segments_.size() * sizeof(Phdr));
      Phdr program{};
      program.p_type = part.header.p_type;
      program.p_offset = static_cast<decltype(program.p_offset)>(part.raw ? part.header.p_offset : offset);
      program.p_vaddr = static_cast<decltype(program.p_vaddr)>(part.header.p_vaddr);
      program.p_paddr = static_cast<decltype(program.p_paddr)>(part.header.p_paddr);
      program.p_filesz = static_cast<decltype(program.p_filesz)>(part.header.p_filesz);
      program.p_memsz = static_cast<decltype(program.p_memsz)>(part.header.p_memsz);
      program.p_align = static_cast<decltype(program.p_align)>(part.header.p_align);
      headers += bytes_as_text(program);
      contents += part.content;
      offset += part.content.size();
    }
    return headers + contents;
  }

  unsigned bits_;
  uint16_t machine_;
  uint16_t type_ = ET_EXEC;
  uint64_t entry_ = 0;
  std::vector<Part> segments_;
};

// A note as it lies in a PT_NOTE of the given alignment.
inline std::string elf_note(std::string_view name, uint32_t type, std::string_view description, size_t alignment = 4) {
  const auto pad = [&](std::string& text) { text.resize((text.size() + alignment - 1) / alignment * alignment); };
  std::string note = bytes_as_text(
      Elf64_Nhdr{static_cast<uint32_t>(name.size() + 1), static_cast<uint32_t>(description.size()), type});
  note += name;
  note.push_back('\0');
  pad(note);
  note += description;
  pad(note);
  return note;
}
inline std::string pvh_note(uint32_t entry) { return elf_note("Xen", 18, bytes_as_text(entry)); }

// ---- Multiboot

constexpr uint32_t kMultibootMagic = 0x1badb002;
constexpr uint32_t kMultibootAddresses = 1 << 16;

// The header alone, to be put at the start of a segment.
inline std::string multiboot_header(uint32_t flags = 0) {
  return bytes_as_text(kMultibootMagic) + bytes_as_text(flags) + bytes_as_text(0u - kMultibootMagic - flags);
}

// A header with address fields at the start of a flat image, then `code`. The checksum is filled in, and addresses that
// are zero: the header is at the load address, and the entry point right after the header.
inline std::string flat_multiboot(MultibootHeader header, const std::string& code) {
  header.magic = kMultibootMagic;
  header.flags |= kMultibootAddresses;
  header.checksum = 0u - header.magic - header.flags;
  if (header.header_addr == 0) header.header_addr = header.load_addr;
  if (header.entry_addr == 0) header.entry_addr = header.header_addr + static_cast<uint32_t>(sizeof header);
  return bytes_as_text(header) + code;
}

// ---- bzImage

constexpr uint64_t kBzImagePreferred = 16 << 20;
constexpr size_t kBzImageSetup = 5 * 512;  // boot sector and four sectors of setup code

// A Linux 6.1 bzImage with 64 KiB of protected-mode code, whose header the test may change.
inline std::string bzimage(const std::function<void(setup_header&)>& change = {}, size_t code_size = 64 << 10) {
  constexpr std::string_view kVersion("6.1.0-test (builder@host) #1\0", 29);
  constexpr size_t kVersionOffset = 0x400;
  setup_header header{};
  header.setup_sects = 4;
  header.syssize = static_cast<uint32_t>(code_size / 16);
  header.boot_flag = 0xaa55;
  header.jump = 0x6aeb;  // the header ends at 0x26c
  header.header = 0x53726448;
  header.version = 0x20f;
  header.kernel_version = kVersionOffset - 0x200;
  header.loadflags = LOADED_HIGH;
  header.code32_start = 0x100000;
  header.initrd_addr_max = 0x7fffffff;
  header.kernel_alignment = 2 << 20;
  header.relocatable_kernel = 1;
  header.xloadflags = XLF_KERNEL_64;
  header.cmdline_size = 2047;
  header.payload_offset = 0x300;
  header.pref_address = kBzImagePreferred;
  header.init_size = 4 << 20;
  if (change) change(header);

  std::string file(kBzImageSetup, '\0');
  file.replace(kVersionOffset, kVersion.size(), kVersion);
  poke(file, offsetof(boot_params, hdr), header);
  std::string code(code_size, 'K');
  code.replace(0x300, 4, "\x02\x21\x4c\x18");  // lz4
  return file + code;
}

}  // namespace vmm::test
