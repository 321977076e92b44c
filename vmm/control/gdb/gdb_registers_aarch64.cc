// The registers of 64-bit ARM ("AArch64 Features" in appendix G of gdb's manual); see gdb_registers.h.
#include <fmt/core.h>

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "vmm/control/gdb/gdb_registers.h"
#include "vmm/kvm/aarch64/cpu_registers.h"

namespace vmm {

namespace {

using Register = GdbRegisters::Register;

// PSTATE as SPSR_EL1 has it (Arm ARM, C5.2.19).
std::string core_types() {
  return GdbRegisters::flags(
      "cpsr_flags", 4, {{"SP", 0},      {"EL0", 2},     {"EL1", 3},   {"F", 6},   {"I", 7},   {"A", 8},    {"D", 9},
                        {"BTYPE0", 10}, {"BTYPE1", 11}, {"SSBS", 12}, {"IL", 20}, {"SS", 21}, {"PAN", 22}, {"UAO", 23},
                        {"DIT", 24},    {"TCO", 25},    {"V", 28},    {"C", 29},  {"Z", 30},  {"N", 31}});
}

std::vector<Register> core_registers() {
  std::vector<Register> table;
  for (size_t i = 0; i < 31; ++i) {
    table.push_back({fmt::format("x{}", i), 8, "int", offsetof(CpuRegisters, x) + i * 8, 8, {}});
  }
  table.push_back({"sp", 8, "data_ptr", offsetof(CpuRegisters, sp), 8, {}});
  table.push_back({"pc", 8, "code_ptr", offsetof(CpuRegisters, pc), 8, {}});
  table.push_back({"cpsr", 4, "cpsr_flags", offsetof(CpuRegisters, pstate), 4, {}});
  return table;
}

// A vector register by each of the kinds of its parts.
std::string vector_types() {
  std::string text;
  const std::vector<std::tuple<const char*, const char*, int>> parts{
      {"v2d", "ieee_double", 2}, {"v4f", "ieee_single", 4}, {"v16i8", "int8", 16},
      {"v8i16", "int16", 8},     {"v4i32", "int32", 4},     {"v2i64", "int64", 2}};
  for (const auto& [id, type, count] : parts) {
    text += fmt::format("<vector id=\"{}\" type=\"{}\" count=\"{}\"/>\n", id, type, count);
  }
  text += "<union id=\"aarch64v\">\n";
  for (const auto& [id, type, count] : parts) text += fmt::format("<field name=\"{0}\" type=\"{0}\"/>\n", id);
  return text + "<field name=\"q\" type=\"uint128\"/>\n</union>\n";
}

std::vector<Register> vector_registers() {
  std::vector<Register> table;
  for (size_t i = 0; i < 32; ++i) {
    table.push_back({fmt::format("v{}", i), 16, "aarch64v", offsetof(CpuRegisters, v) + i * 16, 16, {}});
  }
  table.push_back({"fpsr", 4, "int", offsetof(CpuRegisters, fpsr), 4, "float"});
  table.push_back({"fpcr", 4, "int", offsetof(CpuRegisters, fpcr), 4, "float"});
  return table;
}

std::vector<Register> system_registers() {
  std::vector<Register> table;
  const auto add = [&table](std::string_view name, size_t offset) {
    table.push_back({std::string(name), 8, "int64", offset, 8, "system"});
  };
  add("sp_el0", offsetof(CpuRegisters, sp_el0));
  add("elr_el1", offsetof(CpuRegisters, elr_el1));
  add("spsr_el1", offsetof(CpuRegisters, spsr_el1));
  add("esr_el1", offsetof(CpuRegisters, esr_el1));
  add("far_el1", offsetof(CpuRegisters, far_el1));
  add("sctlr_el1", offsetof(CpuRegisters, sctlr_el1));
  add("tcr_el1", offsetof(CpuRegisters, tcr_el1));
  add("ttbr0_el1", offsetof(CpuRegisters, ttbr0_el1));
  add("ttbr1_el1", offsetof(CpuRegisters, ttbr1_el1));
  add("mair_el1", offsetof(CpuRegisters, mair_el1));
  add("vbar_el1", offsetof(CpuRegisters, vbar_el1));
  add("contextidr_el1", offsetof(CpuRegisters, contextidr_el1));
  add("tpidr_el0", offsetof(CpuRegisters, tpidr_el0));
  add("tpidr_el1", offsetof(CpuRegisters, tpidr_el1));
  return table;
}

CpuRegisters registers_of(const RegisterFile& file) {
  CpuRegisters registers;
  std::memcpy(&registers, file.data(), sizeof registers);
  return registers;
}

}  // namespace

GdbRegisters gdb_registers(const Vcpu&) {
  return {"aarch64",
          {{"org.gnu.gdb.aarch64.core", core_types(), core_registers()},
           {"org.gnu.gdb.aarch64.fpu", vector_types(), vector_registers()},
           {"vmm.aarch64.system", {}, system_registers()}}};
}

RegisterFile read_register_file(const Vcpu& vcpu) {
  const CpuRegisters registers = read_registers(vcpu);
  const auto bytes = std::as_bytes(std::span(&registers, 1));
  return {bytes.begin(), bytes.end()};
}

bool write_register_file(const Vcpu& vcpu, const RegisterFile& before, const RegisterFile& wanted) {
  return write_registers(vcpu, registers_of(before), registers_of(wanted));
}

}  // namespace vmm
