// ELF kernels of both classes: which kind they are, what goes where, what is refused.
#include "firmware/elf_kernel.h"

#include "vmm/core/error.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "tests/support/boot_fixture.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

namespace {

ElfBuilder pvh(unsigned bits = 64) { return ElfBuilder(bits).note(pvh_note(kMiB)).load(kMiB, "code"); }
ElfBuilder multiboot(unsigned bits) {
  return ElfBuilder(bits).entry(kMiB + 12).load(kMiB, multiboot_header() + "code", 4096);
}
std::string patched(std::string file, size_t offset, uint64_t value) {
  poke(file, offset, value);
  return file;
}

}  // namespace

TEST_CASE("elf: a PVH note makes a PVH kernel of either class", "[firmware][elf]") {
  const auto bits = GENERATE(32u, 64u);
  const KernelInfo info = inspect(pvh(bits).build());
  CHECK(info.kind == KernelKind::kPvh);
  CHECK(info.entry == kMiB);
  CHECK_FALSE(info.entry64);
}

TEST_CASE("elf: the PVH note is found behind other notes", "[firmware][elf]") {
  const auto notes = elf_note("GNU", 3, "build-id") + elf_note("Xen", 6, "linux") + pvh_note(kMiB);
  CHECK(inspect(ElfBuilder(64).note(notes).load(kMiB, "code").build()).entry == kMiB);
}

TEST_CASE("elf: notes aligned to eight bytes are read", "[firmware][elf]") {
  const auto notes = elf_note("GNU", 5, "abcd", 8) + elf_note("Xen", 18, bytes_as_text(kMiB), 8);
  CHECK(inspect(ElfBuilder(64).note(notes, 8).load(kMiB, "code").build()).kind == KernelKind::kPvh);
}

TEST_CASE("elf: a PVH note goes before a Multiboot header", "[firmware][elf]") {
  CHECK(inspect(multiboot(64).note(pvh_note(kMiB)).build()).kind == KernelKind::kPvh);
}

TEST_CASE("elf: a note of impossible size is none", "[firmware][elf]") {
  const auto size_field = GENERATE(0u, 4u);  // namesz, descsz
  std::string note = pvh_note(kMiB);
  poke(note, size_field, 0xffffffffu);
  CHECK_THROWS_WITH(inspect(ElfBuilder(64).note(note).load(kMiB, "code").build()), Contains("without a PVH note"));
  CHECK(inspect(multiboot(64).note(note).build()).kind == KernelKind::kMultiboot);
}

TEST_CASE("elf: a PVH note without an address is refused", "[firmware][elf]") {
  CHECK_THROWS_WITH(inspect(ElfBuilder(64).note(elf_note("Xen", 18, "ab")).load(kMiB, "code").build()),
                    Contains("holds no address"));
}

TEST_CASE("elf: notes beyond the end of the file are refused", "[firmware][elf]") {
  Elf64_Phdr header{};
  header.p_type = PT_NOTE;
  header.p_offset = GENERATE(uint64_t{1} << 20, ~uint64_t{0});
  header.p_filesz = 64;
  CHECK_THROWS_WITH(inspect(ElfBuilder(64).raw(header).load(kMiB, "code").build()),
                    Contains("notes lie beyond the end of the file"));
}

TEST_CASE("elf: a Multiboot kernel of either class is one", "[firmware][elf]") {
  const auto bits = GENERATE(32u, 64u);
  const KernelInfo info = inspect(multiboot(bits).build());
  CHECK(info.kind == KernelKind::kMultiboot);
  CHECK(info.entry == kMiB + 12);
}

TEST_CASE("elf: a kernel with nothing but a Multiboot 2 header is told what it lacks", "[firmware][elf]") {
  const uint32_t magic = 0xe85250d6, size = 16;
  const auto header = [&](uint32_t checksum) {
    return bytes_as_text(magic) + bytes_as_text(0u) + bytes_as_text(size) + bytes_as_text(checksum);
  };
  CHECK_THROWS_WITH(inspect(ElfBuilder(64).load(kMiB, header(0u - magic - size) + "code").build()),
                    Contains("Multiboot header is one of version 2"));
  CHECK_THROWS_WITH(inspect(ElfBuilder(64).load(kMiB, header(1) + "code").build()), Contains("without a PVH note"));
}

TEST_CASE("elf: a 32-bit container may hold 64-bit code, and the reverse", "[firmware][elf]") {
  CHECK_NOTHROW(inspect(multiboot(32).machine(EM_X86_64).build()));
  CHECK_NOTHROW(inspect(multiboot(64).machine(EM_386).build()));
}

TEST_CASE("elf: a virtual entry point is translated to the physical one", "[firmware][elf]") {
  const uint64_t high = 0xffffffff80100000;
  const auto file = ElfBuilder(64).entry(high + 12).load(kMiB, multiboot_header() + "code", 0, high).build();
  CHECK(inspect(file).entry == kMiB + 12);
}

TEST_CASE("elf: a physical entry point of a kernel linked high stays (xv6)", "[firmware][elf]") {
  const auto file = ElfBuilder(32).entry(kMiB + 12).load(kMiB, multiboot_header() + "code", 0x8000, 0x80100000).build();
  CHECK(inspect(file).entry == kMiB + 12);
}

TEST_CASE("elf: a test kernel at 4 MiB with its headers in the first segment loads", "[firmware][elf]") {
  Boot boot;
  const auto file = ElfBuilder(32)
                        .entry(0x40007c)
                        .load(0x400070, multiboot_header() + "code", 0x20000)
                        .load(0x430000, "data")
                        .build();
  CHECK(boot.load(file).rip == 0x40007c);
  CHECK(boot.bytes(0x40007c, 4) == "code");
  CHECK(boot.bytes(0x430000, 4) == "data");
}

TEST_CASE("elf: empty segments are left out wherever they point", "[firmware][elf]") {
  Elf64_Phdr empty{};
  empty.p_type = PT_LOAD;
  empty.p_offset = ~uint64_t{0};
  empty.p_paddr = 0xa0000;
  CHECK_NOTHROW(inspect(multiboot(64).raw(empty).build()));
}

TEST_CASE("elf: a segment of zeroes alone is loaded", "[firmware][elf]") {
  Boot boot;
  boot.memory.slice({2 * kMiB}, 16)->fill(std::byte{0xee});
  boot.load(multiboot(32).load(2 * kMiB, "", 16).build());
  CHECK(boot.at<uint64_t>(2 * kMiB + 8) == 0);
}

TEST_CASE("elf: a small segment in low memory, beside the kernel, is loaded", "[firmware][elf]") {
  Boot boot;
  boot.load(multiboot(32).load(0x8000, "trampoline").build());
  CHECK(boot.bytes(0x8000, 10) == "trampoline");
}

TEST_CASE("elf: segments that all claim address zero are refused", "[firmware][elf]") {
  CHECK_THROWS_WITH(inspect(multiboot(32).load(0, "a").load(0, "b").build()), Contains("overlap"));
}

TEST_CASE("elf: program headers past the end of the file are refused at once", "[firmware][elf]") {
  const auto offset = GENERATE(uint64_t{4096}, uint64_t{1} << 62, ~uint64_t{0}, ~uint64_t{0} - 55);
  CHECK_THROWS_WITH(inspect(patched(pvh().build(), offsetof(Elf64_Ehdr, e_phoff), offset)),
                    Contains("beyond the end of the file"));
}

TEST_CASE("elf: absurd numbers and sizes of program headers are refused", "[firmware][elf]") {
  const auto offset = GENERATE(offsetof(Elf64_Ehdr, e_phnum), offsetof(Elf64_Ehdr, e_phentsize));
  const auto value = GENERATE(uint16_t{0}, uint16_t{0xffff});
  std::string file = pvh().build();
  poke(file, offset, value);
  CHECK_THROWS_WITH(inspect(file), Contains("program headers"));
}

TEST_CASE("elf: a file that ends within its headers is refused", "[firmware][elf]") {
  const auto length = GENERATE(4u, 15u, 16u, 63u, 64u, 119u);
  CHECK_THROWS_AS(inspect(pvh().build().substr(0, length)), Error);
}

TEST_CASE("elf: other processors and other files in ELF are named", "[firmware][elf]") {
  CHECK_THROWS_WITH(inspect(pvh().machine(EM_AARCH64).build()), Contains("64-bit ARM"));
  CHECK_THROWS_WITH(inspect(pvh().machine(4711).build()), Contains("machine 4711"));
  CHECK_THROWS_WITH(inspect(pvh().type(ET_REL).build()), Contains("object file"));
  CHECK_THROWS_WITH(inspect(pvh().type(ET_CORE).build()), Contains("core dump"));
  std::string big_endian = pvh().build();
  big_endian[EI_DATA] = ELFDATA2MSB;
  CHECK_THROWS_WITH(inspect(big_endian), Contains("big-endian"));
}

TEST_CASE("elf: one without PVH note or Multiboot header is refused with what to do", "[firmware][elf]") {
  CHECK_THROWS_WITH(inspect(ElfBuilder(64).entry(kMiB).load(kMiB, "code").build()),
                    Contains("64-bit ELF file without"));
  CHECK_THROWS_WITH(inspect(ElfBuilder(32).entry(kMiB).load(kMiB, "code").build()),
                    Contains("32-bit ELF file without"));
}
