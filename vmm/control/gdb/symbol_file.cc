// The ELF file's headers, notes and symbols, read with every size in doubt; see symbol_file.h.
#include "vmm/control/gdb/symbol_file.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "vmm/core/error.h"
#include "vmm/core/fd.h"

namespace vmm {

namespace {

constexpr size_t kMostSections = 65536;  // their number has 16 bits
constexpr size_t kMostNotes = size_t{64} << 10;
constexpr off_t kBzImageMagic = 0x202;

class Reader {
 public:
  explicit Reader(const std::string& path)
      : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) {
    if (!fd_) refuse("cannot be opened: " + errno_text(errno));
  }

  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(fmt::format("--vmlinux '{}' {}", path_, why),
                "pass the vmlinux at the top of the tree that the kernel was built in, or of its -dbg package");
  }

  // Less when the file ends before.
  std::string read(uint64_t offset, size_t length) const {
    std::string bytes(length, '\0');
    const ssize_t got = ::pread(fd_.get(), bytes.data(), length, static_cast<off_t>(offset));
    bytes.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
    return bytes;
  }
  template <typename T>
  std::optional<T> read_as(uint64_t offset) const {
    const std::string bytes = read(offset, sizeof(T));
    if (bytes.size() < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }

 private:
  const std::string& path_;
  UniqueFd fd_;
};

Elf64_Ehdr read_header(const Reader& file) {
  const auto header = file.read_as<Elf64_Ehdr>(0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) {
    file.refuse(file.read(kBzImageMagic, 4) == "HdrS" ? "is a bzImage, which has no symbols" : "is no ELF file");
  }
  if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_X86_64) {
    file.refuse("is not of an x86-64 kernel");
  }
  return *header;
}

std::vector<Elf64_Shdr> read_sections(const Reader& file, const Elf64_Ehdr& header) {
  std::vector<Elf64_Shdr> sections;
  if (header.e_shentsize != sizeof(Elf64_Shdr)) return sections;
  const size_t count = std::min<size_t>(header.e_shnum, kMostSections);
  for (size_t i = 0; i < count; ++i) {
    const auto section = file.read_as<Elf64_Shdr>(header.e_shoff + i * sizeof(Elf64_Shdr));
    if (!section) file.refuse("ends before its sections do");
    sections.push_back(*section);
  }
  return sections;
}

size_t padded(size_t length) { return (length + 3) & ~size_t{3}; }

// The build ID of the note that has it, among notes one behind the other; empty when there is none.
std::string find_build_id(std::string_view notes) {
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr note;
    std::memcpy(&note, notes.data(), sizeof note);
    notes.remove_prefix(sizeof note);
    const size_t name = padded(note.n_namesz), description = padded(note.n_descsz);
    if (name > notes.size() || description > notes.size() - name) break;
    if (note.n_type == NT_GNU_BUILD_ID && notes.starts_with(std::string_view("GNU\0", 4))) {
      std::string digits;
      for (const char byte : notes.substr(name, note.n_descsz)) {
        digits += fmt::format("{:02x}", static_cast<unsigned char>(byte));
      }
      return digits;
    }
    notes.remove_prefix(name + description);
  }
  return {};
}

}  // namespace

SymbolFile::SymbolFile(const std::string& path) : path_(path) {
  const Reader file(path);
  const std::vector<Elf64_Shdr> sections = read_sections(file, read_header(file));
  const bool has_symbols = std::ranges::any_of(sections, [](const Elf64_Shdr& section) {
    return section.sh_type == SHT_SYMTAB && section.sh_size > sizeof(Elf64_Sym);  // the first is none
  });
  if (!has_symbols) file.refuse("has no symbols: it has been stripped");
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_NOTE || !build_id_.empty()) continue;
    build_id_ = find_build_id(file.read(section.sh_offset, std::min<size_t>(section.sh_size, kMostNotes)));
  }
}

}  // namespace vmm
