// The registers of x86-64 ("i386 Features" in appendix G of gdb's manual); see gdb_registers.h.
#include "vmm/control/gdb/gdb_registers_x86_64.h"

#include <fmt/core.h>

#include <array>
#include <cstring>
#include <tuple>
#include <utility>

namespace vmm {

namespace {

using Register = GdbRegisters::Register;

std::string core_types() {
  return GdbRegisters::flags("i386_eflags", 4,
                             {{"CF", 0},
                              {"", 1},
                              {"PF", 2},
                              {"AF", 4},
                              {"ZF", 6},
                              {"SF", 7},
                              {"TF", 8},
                              {"IF", 9},
                              {"DF", 10},
                              {"OF", 11},
                              {"NT", 14},
                              {"RF", 16},
                              {"VM", 17},
                              {"AC", 18},
                              {"VIF", 19},
                              {"VIP", 20},
                              {"ID", 21}});
}

std::string sse_types() {
  std::string text;
  for (const auto& [id, type, count] :
       std::to_array<std::tuple<const char*, const char*, int>>({{"v4f", "ieee_single", 4},
                                                                 {"v2d", "ieee_double", 2},
                                                                 {"v16i8", "int8", 16},
                                                                 {"v8i16", "int16", 8},
                                                                 {"v4i32", "int32", 4},
                                                                 {"v2i64", "int64", 2}})) {
    text += fmt::format("<vector id=\"{}\" type=\"{}\" count=\"{}\"/>\n", id, type, count);
  }
  text += "<union id=\"vec128\">\n";
  for (const auto& [name, type] : std::to_array<std::pair<const char*, const char*>>({{"v4_float", "v4f"},
                                                                                      {"v2_double", "v2d"},
                                                                                      {"v16_int8", "v16i8"},
                                                                                      {"v8_int16", "v8i16"},
                                                                                      {"v4_int32", "v4i32"},
                                                                                      {"v2_int64", "v2i64"},
                                                                                      {"uint128", "uint128"}})) {
    text += fmt::format("<field name=\"{}\" type=\"{}\"/>\n", name, type);
  }
  return text + "</union>\n" +
         GdbRegisters::flags("i386_mxcsr", 4,
                             {{"IE", 0},
                              {"DE", 1},
                              {"ZE", 2},
                              {"OE", 3},
                              {"UE", 4},
                              {"PE", 5},
                              {"DAZ", 6},
                              {"IM", 7},
                              {"DM", 8},
                              {"ZM", 9},
                              {"OM", 10},
                              {"UM", 11},
                              {"PM", 12},
                              {"FZ", 15}});
}

// Intel SDM 3A §2.5 and §2.2.1.
std::string control_types() {
  return GdbRegisters::flags("x64_cr0", 8,
                             {{"PE", 0},
                              {"MP", 1},
                              {"EM", 2},
                              {"TS", 3},
                              {"ET", 4},
                              {"NE", 5},
                              {"WP", 16},
                              {"AM", 18},
                              {"NW", 29},
                              {"CD", 30},
                              {"PG", 31}}) +
         GdbRegisters::flags(
             "x64_cr4", 8,
             {{"VME", 0},   {"PVI", 1},   {"TSD", 2},   {"DE", 3},        {"PSE", 4},         {"PAE", 5},
              {"MCE", 6},   {"PGE", 7},   {"PCE", 8},   {"OSFXSR", 9},    {"OSXMMEXCPT", 10}, {"UMIP", 11},
              {"LA57", 12}, {"VMXE", 13}, {"SMXE", 14}, {"FSGSBASE", 16}, {"PCIDE", 17},      {"OSXSAVE", 18},
              {"SMEP", 20}, {"SMAP", 21}, {"PKE", 22},  {"CET", 23},      {"PKS", 24}}) +
         GdbRegisters::flags("x64_efer", 8,
                             {{"SCE", 0},
                              {"LME", 8},
                              {"LMA", 10},
                              {"NXE", 11},
                              {"SVME", 12},
                              {"LMSLE", 13},
                              {"FFXSR", 14},
                              {"TCE", 15}});
}

std::vector<Register> core_registers() {
  std::vector<Register> table;
  const auto whole = [&table](std::string_view name, size_t offset, std::string_view type) {
    table.push_back({std::string(name), 8, std::string(type), offset, 8, {}});
  };
  const auto word = [&table](std::string_view name, size_t offset, unsigned stored, std::string_view group) {
    table.push_back({std::string(name), 4, "int32", offset, stored, std::string(group)});
  };
  whole("rax", offsetof(CpuRegisters, general.rax), "int64");
  whole("rbx", offsetof(CpuRegisters, general.rbx), "int64");
  whole("rcx", offsetof(CpuRegisters, general.rcx), "int64");
  whole("rdx", offsetof(CpuRegisters, general.rdx), "int64");
  whole("rsi", offsetof(CpuRegisters, general.rsi), "int64");
  whole("rdi", offsetof(CpuRegisters, general.rdi), "int64");
  whole("rbp", offsetof(CpuRegisters, general.rbp), "data_ptr");
  whole("rsp", offsetof(CpuRegisters, general.rsp), "data_ptr");
  for (size_t i = 8; i < 16; ++i) {
    whole(fmt::format("r{}", i), offsetof(CpuRegisters, general.r8) + (i - 8) * sizeof(uint64_t), "int64");
  }
  whole("rip", offsetof(CpuRegisters, general.rip), "code_ptr");
  table.push_back({"eflags", 4, "i386_eflags", offsetof(CpuRegisters, general.rflags), 4, {}});
  word("cs", offsetof(CpuRegisters, system.cs.selector), 2, {});
  word("ss", offsetof(CpuRegisters, system.ss.selector), 2, {});
  word("ds", offsetof(CpuRegisters, system.ds.selector), 2, {});
  word("es", offsetof(CpuRegisters, system.es.selector), 2, {});
  word("fs", offsetof(CpuRegisters, system.fs.selector), 2, {});
  word("gs", offsetof(CpuRegisters, system.gs.selector), 2, {});
  for (size_t i = 0; i < 8; ++i) {
    table.push_back({fmt::format("st{}", i), 10, "i387_ext", offsetof(CpuRegisters, fpu.st) + i * 16, 10, {}});
  }
  word("fctrl", offsetof(CpuRegisters, fpu.fcw), 2, "float");
  word("fstat", offsetof(CpuRegisters, fpu.fsw), 2, "float");
  table.push_back({"ftag", 4, "int32", offsetof(CpuRegisters, x87_tags), 2, "float"});
  word("fiseg", offsetof(CpuRegisters, fpu.fcs), 2, "float");
  word("fioff", offsetof(CpuRegisters, fpu.fip), 4, "float");
  word("foseg", offsetof(CpuRegisters, fpu.fds), 2, "float");
  word("fooff", offsetof(CpuRegisters, fpu.fdp), 4, "float");
  word("fop", offsetof(CpuRegisters, fpu.fop), 2, "float");
  return table;
}

std::vector<Register> sse_registers() {
  std::vector<Register> table;
  for (size_t i = 0; i < 16; ++i) {
    table.push_back({fmt::format("xmm{}", i), 16, "vec128", offsetof(CpuRegisters, fpu.xmm) + i * 16, 16, "vector"});
  }
  table.push_back({"mxcsr", 4, "i386_mxcsr", offsetof(CpuRegisters, fpu.mxcsr), 4, "vector"});
  return table;
}

std::vector<Register> avx_registers() {
  std::vector<Register> table;
  for (size_t i = 0; i < 16; ++i) {
    table.push_back({fmt::format("ymm{}h", i), 16, "uint128", offsetof(CpuRegisters, ymm_high) + i * 16, 16, {}});
  }
  return table;
}

std::vector<Register> control_registers() {
  std::vector<Register> table;
  const auto control = [&table](std::string_view name, size_t offset, std::string_view type) {
    table.push_back({std::string(name), 8, std::string(type), offset, 8, "system"});
  };
  control("k_gs_base", offsetof(CpuRegisters, kernel_gs_base), "int64");
  control("cr0", offsetof(CpuRegisters, system.cr0), "x64_cr0");
  control("cr2", offsetof(CpuRegisters, system.cr2), "int64");
  control("cr3", offsetof(CpuRegisters, system.cr3), "int64");
  control("cr4", offsetof(CpuRegisters, system.cr4), "x64_cr4");
  control("cr8", offsetof(CpuRegisters, system.cr8), "int64");
  control("efer", offsetof(CpuRegisters, system.efer), "x64_efer");
  return table;
}

}  // namespace

GdbRegisters gdb_registers(bool has_avx) {
  std::vector<GdbRegisters::Feature> features{{"org.gnu.gdb.i386.core", core_types(), core_registers()},
                                              {"org.gnu.gdb.i386.sse", sse_types(), sse_registers()},
                                              {"org.gnu.gdb.i386.segments",
                                               {},
                                               {{"fs_base", 8, "int", offsetof(CpuRegisters, system.fs.base), 8, {}},
                                                {"gs_base", 8, "int", offsetof(CpuRegisters, system.gs.base), 8, {}}}},
                                              {"vmm.x86-64.control", control_types(), control_registers()}};
  if (has_avx) features.push_back({"org.gnu.gdb.i386.avx", {}, avx_registers()});
  return {"i386:x86-64", std::move(features)};
}

RegisterFile file_of(const CpuRegisters& registers) {
  const auto bytes = std::as_bytes(std::span(&registers, 1));
  return {bytes.begin(), bytes.end()};
}

CpuRegisters registers_of(const RegisterFile& file) {
  CpuRegisters registers;
  std::memcpy(&registers, file.data(), sizeof registers);
  return registers;
}

GdbRegisters gdb_registers(const Vcpu& vcpu) { return gdb_registers(has_avx(vcpu)); }

RegisterFile read_register_file(const Vcpu& vcpu) { return file_of(read_registers(vcpu)); }

bool write_register_file(const Vcpu& vcpu, const RegisterFile& before, const RegisterFile& wanted) {
  return write_registers(vcpu, registers_of(before), registers_of(wanted));
}

}  // namespace vmm
