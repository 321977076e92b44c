// Foreign files: the name of each format, and what to do about it.
#include "firmware/foreign_file.h"

#include "vmm/core/error.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "tests/support/kernel_builder.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

namespace {

Error refuse(const std::string& content) {
  return refuse_foreign_file(MemorySource(as_file(content)),
                             {.missing = "no 'HdrS' at 0x202, not ELF", .pass = "pass an x86-64 bzImage or vmlinux"});
}

std::string file_with(size_t offset, std::string_view magic) {
  std::string content(0x9000, '.');
  content.replace(offset, magic.size(), magic);
  return content;
}

}  // namespace

TEST_CASE("foreign file: an ISO image is told by words", "[firmware][foreign]") {
  const Error error = refuse(file_with(0x8001, "CD001"));
  CHECK(error.what() == std::string("no 'HdrS' at 0x202, not ELF (first bytes: 'CD001' ISO image)"));
  CHECK(error.fix() == "pass the kernel inside it");
}

TEST_CASE("foreign file: a compressed vmlinux is to be decompressed", "[firmware][foreign]") {
  const auto magic = GENERATE(as<std::string>(), "\x1f\x8b", "\xfd\x37zXZ", "\x28\xb5\x2f\xfd", "\x04\x22\x4d\x18");
  CHECK_THAT(refuse(file_with(0, magic)).fix(), Contains("decompress it"));
}

TEST_CASE("foreign file: kernels of other processors are named", "[firmware][foreign]") {
  CHECK_THAT(refuse(file_with(56, "ARM\x64")).what(), Contains("64-bit ARM kernel Image"));
  CHECK_THAT(refuse(file_with(0x202, "HdrS")).what(), Contains("x86 bzImage"));
  CHECK_THAT(refuse(file_with(48, std::string("RISCV\0\0\0", 8))).what(), Contains("RISC-V kernel Image"));
}

TEST_CASE("foreign file: an EFI program that holds a compressed kernel is not just an EFI program",
          "[firmware][foreign]") {
  CHECK_THAT(refuse(std::string("MZ\0\0zimg", 8)).what(), Contains("zboot"));
  CHECK_THAT(refuse("MZ..").what(), Contains("EFI or Windows program"));
  CHECK_THAT(refuse("MZ..").fix(), Contains("no firmware") && Contains("objcopy -O binary -j .linux"));
}

TEST_CASE("foreign file: what a BIOS would start is told that there is none", "[firmware][foreign]") {
  CHECK_THAT(refuse(file_with(0x1fe, "\x55\xaa")).what(), Contains("boot sector"));
  CHECK_THAT(refuse(file_with(0x1fe, "\x55\xaa")).fix(), Contains("no BIOS"));
}

TEST_CASE("foreign file: firmware is told that it is not needed", "[firmware][foreign]") {
  CHECK_THAT(refuse(file_with(40, "_FVH")).what(), Contains("UEFI firmware"));
  CHECK_THAT(refuse(file_with(40, "_FVH")).fix(), Contains("pass the kernel"));
  CHECK_THAT(refuse(file_with(0, "\x55\xaa")).what(), Contains("option ROM"));
}

TEST_CASE("foreign file: disk images go elsewhere", "[firmware][foreign]") {
  CHECK_THAT(refuse(file_with(0, "QFI\xfb")).fix(), Contains("--disk"));
  CHECK_THAT(refuse(file_with(0x1fe, "\x55\xaa")).fix(), Contains("--disk"));
  CHECK_THAT(refuse(file_with(0, "070701")).fix(), Contains("--initrd"));
}

TEST_CASE("foreign file: an unknown file shows its first bytes", "[firmware][foreign]") {
  CHECK_THAT(refuse("hello").what(), Contains("(first bytes: 'hello')"));
  CHECK_THAT(refuse("\x01\x02").what(), Contains("(first bytes: 01 02)"));
}

TEST_CASE("foreign file: an empty file is called empty", "[firmware][foreign]") {
  CHECK(refuse("").what() == std::string("the file is empty"));
}
