// Registers as gdb transfers them: the table, with what x86-64 has in it.
#include "vmm/control/gdb/gdb_registers.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "vmm/control/gdb/gdb_registers_x86_64.h"

using namespace vmm;
using Catch::Matchers::Contains;

namespace {

constexpr size_t kRip = 16, kCs = 18, kSt0 = 24, kFtag = 34;

std::string word(uint64_t value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

}  // namespace

TEST_CASE("gdb registers: gdb's own order and sizes", "[gdb]") {
  const GdbRegisters registers = gdb_registers(false);
  CpuRegisters cpu;
  cpu.general.rax = 1;
  cpu.general.r15 = 15;
  cpu.general.rip = 0xffffffff81000000;
  cpu.system.cs.selector = 0x10;
  const RegisterFile file = file_of(cpu);
  CHECK(registers.read(file, 0) == word(1));
  CHECK(registers.read(file, 15) == word(15));
  CHECK(registers.read(file, kRip) == word(0xffffffff81000000));
  CHECK(registers.read(file, kCs) == std::string("\x10\0\0\0", 4));
  CHECK(registers.read(file, kSt0)->size() == 10);
  CHECK(registers.read_all(file).size() == registers.size_of_all());
  CHECK(!registers.read(file, registers.count()));
}

TEST_CASE("gdb registers: the description names each with its number", "[gdb]") {
  const std::string text = gdb_registers(true).description();
  CHECK_THAT(text, Contains("org.gnu.gdb.i386.core") && Contains("org.gnu.gdb.i386.sse") &&
                       Contains("org.gnu.gdb.i386.avx") && Contains("org.gnu.gdb.i386.segments"));
  CHECK_THAT(text, Contains("<reg name=\"rip\" bitsize=\"64\" type=\"code_ptr\" regnum=\"16\"/>"));
  CHECK_THAT(text, Contains("name=\"k_gs_base\"") && Contains("name=\"cr8\"") && Contains("name=\"efer\""));
  CHECK_THAT(text, Contains("<architecture>i386:x86-64</architecture>"));
  CHECK_THAT(gdb_registers(false).description(), !Contains("ymm"));
}

TEST_CASE("gdb registers: what is written is read", "[gdb]") {
  const GdbRegisters registers = gdb_registers(true);
  const RegisterFile from = file_of({});
  RegisterFile to(from.size(), std::byte{0xff});
  for (size_t number = 0; number < registers.count(); ++number) {
    INFO(number);
    const std::string bytes = registers.read(from, number).value();
    REQUIRE(registers.write(to, number, bytes));
    CHECK(registers.read(to, number) == bytes);
    CHECK(!registers.write(to, number, bytes + "x"));
  }
  CHECK(!registers.write(to, registers.count(), "x"));
}

TEST_CASE("gdb registers: all at once, or not at all", "[gdb]") {
  const GdbRegisters registers = gdb_registers(true);
  CpuRegisters from;
  RegisterFile file = file_of({});
  from.general.rsp = 7;
  from.system.cr3 = 0x1000;
  from.kernel_gs_base = 9;
  from.ymm_high[15][15] = std::byte{0xab};
  REQUIRE(registers.write_all(file, registers.read_all(file_of(from))));
  const CpuRegisters to = registers_of(file);
  CHECK(to.general.rsp == 7);
  CHECK(to.system.cr3 == 0x1000);
  CHECK(to.kernel_gs_base == 9);
  CHECK(to.ymm_high[15][15] == std::byte{0xab});
  CHECK(!registers.write_all(file, registers.read_all(file) + "x"));
  CHECK(!registers.write_all(file, ""));
}

TEST_CASE("gdb registers: the x87's tags are told from its registers", "[gdb]") {
  CpuRegisters cpu;
  CHECK(full_tags(cpu.fpu) == 0xffff);
  CHECK(gdb_registers(false).read(file_of(cpu), kFtag) == std::string("\xff\xff\0\0", 4));
  // One number, 1.0, was pushed: it is in physical register 7.
  cpu.fpu.fsw = 7 << 11;
  cpu.fpu.ftw = 1 << 7;
  const uint64_t mantissa = uint64_t{1} << 63;
  const uint16_t exponent = 0x3fff;
  std::memcpy(cpu.fpu.st[0].data(), &mantissa, sizeof mantissa);
  std::memcpy(cpu.fpu.st[0].data() + 8, &exponent, sizeof exponent);
  CHECK(full_tags(cpu.fpu) == 0x3fff);
  cpu.fpu.st[0] = {};
  CHECK(full_tags(cpu.fpu) == 0x7fff);
  cpu.fpu.st[0][9] = std::byte{0x7f};
  CHECK(full_tags(cpu.fpu) == 0xbfff);
  CHECK(short_tags(0xfffc) == 1);
}
