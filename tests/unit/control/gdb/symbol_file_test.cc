// Which files have a kernel's symbols, and whose they are.
#include "vmm/control/gdb/symbol_file.h"

#include <elf.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <vector>

#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

template <typename T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string note(uint32_t type, const std::string& name, const std::string& description) {
  return bytes_of(Elf64_Nhdr{static_cast<uint32_t>(name.size()), static_cast<uint32_t>(description.size()), type}) +
         name + description;
}

struct Elf {
  std::string bytes() const {
    std::vector<Elf64_Shdr> sections(1);
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = bits;
    header.e_machine = machine;
    header.e_shentsize = sizeof(Elf64_Shdr);
    std::string body;
    const auto add = [&](uint32_t type, const std::string& contents) {
      Elf64_Shdr section{};
      section.sh_type = type;
      section.sh_offset = sizeof header + body.size();
      section.sh_size = contents.size();
      sections.push_back(section);
      body += contents;
    };
    if (symbols) add(SHT_SYMTAB, std::string(2 * sizeof(Elf64_Sym), '\0'));
    add(SHT_NOTE, notes);
    header.e_shoff = sizeof header + body.size();
    header.e_shnum = static_cast<uint16_t>(sections.size());
    for (const Elf64_Shdr& section : sections) body += bytes_of(section);
    return bytes_of(header) + body;
  }

  unsigned char bits = ELFCLASS64;
  uint16_t machine = EM_X86_64;
  bool symbols = true;
  std::string notes = note(1, std::string("Linux\0\0\0", 8), "abcd") +
                      note(NT_GNU_BUILD_ID, std::string("GNU\0", 4), std::string("\x01\x23\xfe\0", 4));
};

std::string refusal(const std::string& bytes) {
  const TempDirectory folder;
  try {
    const SymbolFile symbols(folder.file("vmlinux", bytes));
  } catch (const Error& error) {
    CHECK_THAT(error.fix(), Contains("vmlinux"));
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("symbol file: a kernel with symbols tells its build ID", "[gdb][symbols]") {
  const TempDirectory folder;
  CHECK(SymbolFile(folder.file("with", Elf().bytes())).build_id() == "0123fe00");
  CHECK(SymbolFile(folder.file("without", Elf{.notes = {}}.bytes())).build_id().empty());
}

TEST_CASE("symbol file: what has no symbols of a kernel is refused, and why is said", "[gdb][symbols]") {
  CHECK_THROWS_WITH(SymbolFile("/nowhere/vmlinux"), Contains("cannot be opened: No such file"));
  CHECK_THAT(refusal(""), Contains("is no ELF file"));
  CHECK_THAT(refusal("MZ" + std::string(0x200, '\0') + "HdrS"), Contains("is a bzImage, which has no symbols"));
  CHECK_THAT(refusal(Elf{.symbols = false}.bytes()), Contains("it has been stripped"));
  CHECK_THAT(refusal(Elf{.bits = ELFCLASS32}.bytes()), Contains("not of an x86-64 kernel"));
  CHECK_THAT(refusal(Elf{.machine = EM_AARCH64}.bytes()), Contains("not of an x86-64 kernel"));
  const std::string whole = Elf().bytes();
  CHECK_THAT(refusal(whole.substr(0, whole.size() - 1)), Contains("ends before its sections do"));
}

TEST_CASE("symbol file: notes that do not hold what they say are no build ID", "[gdb][symbols]") {
  const std::string notes =
      GENERATE(std::string("\xff\xff\xff\xff\xff\xff\xff\xff\x03\0\0\0GNU", 15),
               bytes_of(Elf64_Nhdr{4, 100, NT_GNU_BUILD_ID}) + std::string("GNU\0abcd", 8), std::string(5, '\0'));
  const TempDirectory folder;
  CHECK(SymbolFile(folder.file("vmlinux", Elf{.notes = notes}.bytes())).build_id().empty());
}
