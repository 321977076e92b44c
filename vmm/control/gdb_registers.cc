// See gdb_registers.h.
#include "vmm/control/gdb_registers.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <string_view>
#include <utility>

namespace vmm {

namespace {

constexpr std::string_view kHead = R"(<?xml version="1.0"?>
<!DOCTYPE target SYSTEM "gdb-target.dtd">
<target>
<architecture>i386:x86-64</architecture>
)";

using Bits = std::vector<std::pair<std::string_view, unsigned>>;

std::string flags(std::string_view id, unsigned size, const Bits& bits) {
  std::string text = fmt::format("<flags id=\"{}\" size=\"{}\">\n", id, size);
  for (const auto& [name, bit] : bits)
    text += fmt::format("<field name=\"{0}\" start=\"{1}\" end=\"{1}\"/>\n", name, bit);
  return text + "</flags>\n";
}

std::string core_types() {
  return flags("i386_eflags", 4,
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
         flags("i386_mxcsr", 4,
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
  return flags("x64_cr0", 8,
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
         flags("x64_cr4", 8,
               {{"VME", 0},   {"PVI", 1},   {"TSD", 2},   {"DE", 3},        {"PSE", 4},         {"PAE", 5},
                {"MCE", 6},   {"PGE", 7},   {"PCE", 8},   {"OSFXSR", 9},    {"OSXMMEXCPT", 10}, {"UMIP", 11},
                {"LA57", 12}, {"VMXE", 13}, {"SMXE", 14}, {"FSGSBASE", 16}, {"PCIDE", 17},      {"OSXSAVE", 18},
                {"SMEP", 20}, {"SMAP", 21}, {"PKE", 22},  {"CET", 23},      {"PKS", 24}}) +
         flags("x64_efer", 8,
               {{"SCE", 0},
                {"LME", 8},
                {"LMA", 10},
                {"NXE", 11},
                {"SVME", 12},
                {"LMSLE", 13},
                {"FFXSR", 14},
                {"TCE", 15}});
}

// FXSAVE has a bit for each physical register that is in use; gdb wants two: valid, zero, special, empty (Intel SDM 1,
// §8.1.7 and table 10-2).
uint16_t full_tags(const CpuRegisters::Fxsave& fpu) {
  constexpr unsigned kValid = 0, kZero = 1, kSpecial = 2, kEmpty = 3;
  const unsigned top = fpu.fsw >> 11 & 7;
  unsigned tags = 0;
  for (unsigned physical = 0; physical < 8; ++physical) {
    unsigned tag = kEmpty;
    if ((fpu.ftw >> physical & 1) != 0) {
      const auto& bytes = fpu.st[(physical + 8 - top) % 8];
      uint64_t mantissa = 0;
      uint16_t exponent = 0;
      std::memcpy(&mantissa, bytes.data(), sizeof mantissa);
      std::memcpy(&exponent, bytes.data() + sizeof mantissa, sizeof exponent);
      exponent &= 0x7fff;
      const bool normal = exponent != 0 && exponent != 0x7fff && mantissa >> 63 != 0;
      tag = normal ? kValid : exponent == 0 && mantissa == 0 ? kZero : kSpecial;
    }
    tags |= tag << (2 * physical);
  }
  return static_cast<uint16_t>(tags);
}

uint8_t short_tags(uint16_t tags) {
  unsigned used = 0;
  for (unsigned physical = 0; physical < 8; ++physical) {
    if ((tags >> (2 * physical) & 3) != 3) used |= 1u << physical;
  }
  return static_cast<uint8_t>(used);
}

}  // namespace

GdbRegisters::GdbRegisters(bool has_avx) {
  add_core();
  for (size_t i = 0; i < 16; ++i) {
    add({fmt::format("xmm{}", i), 16, "vec128", offsetof(CpuRegisters, fpu.xmm) + i * 16, 16, Feature::kSse, "vector"});
  }
  add({"mxcsr", 4, "i386_mxcsr", offsetof(CpuRegisters, fpu.mxcsr), 4, Feature::kSse, "vector"});
  add({"fs_base", 8, "int", offsetof(CpuRegisters, system.fs.base), 8, Feature::kSegments, {}});
  add({"gs_base", 8, "int", offsetof(CpuRegisters, system.gs.base), 8, Feature::kSegments, {}});
  add_control();
  for (size_t i = 0; has_avx && i < 16; ++i) {
    add({fmt::format("ymm{}h", i), 16, "uint128", offsetof(CpuRegisters, ymm_high) + i * 16, 16, Feature::kAvx, {}});
  }
}

void GdbRegisters::add(Register entry) {
  size_ += entry.size;
  table_.push_back(std::move(entry));
}

void GdbRegisters::add_core() {
  const auto whole = [this](std::string_view name, size_t offset, std::string_view type) {
    add({std::string(name), 8, std::string(type), offset, 8, Feature::kCore, {}});
  };
  const auto word = [this](std::string_view name, size_t offset, unsigned stored, std::string_view group) {
    add({std::string(name), 4, "int32", offset, stored, Feature::kCore, std::string(group)});
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
  add({"eflags", 4, "i386_eflags", offsetof(CpuRegisters, general.rflags), 4, Feature::kCore, {}});
  word("cs", offsetof(CpuRegisters, system.cs.selector), 2, {});
  word("ss", offsetof(CpuRegisters, system.ss.selector), 2, {});
  word("ds", offsetof(CpuRegisters, system.ds.selector), 2, {});
  word("es", offsetof(CpuRegisters, system.es.selector), 2, {});
  word("fs", offsetof(CpuRegisters, system.fs.selector), 2, {});
  word("gs", offsetof(CpuRegisters, system.gs.selector), 2, {});
  for (size_t i = 0; i < 8; ++i) {
    add({fmt::format("st{}", i), 10, "i387_ext", offsetof(CpuRegisters, fpu.st) + i * 16, 10, Feature::kCore, {}});
  }
  word("fctrl", offsetof(CpuRegisters, fpu.fcw), 2, "float");
  word("fstat", offsetof(CpuRegisters, fpu.fsw), 2, "float");
  add({"ftag", 4, "int32", offsetof(CpuRegisters, fpu.ftw), 2, Feature::kCore, "float", true});
  word("fiseg", offsetof(CpuRegisters, fpu.fcs), 2, "float");
  word("fioff", offsetof(CpuRegisters, fpu.fip), 4, "float");
  word("foseg", offsetof(CpuRegisters, fpu.fds), 2, "float");
  word("fooff", offsetof(CpuRegisters, fpu.fdp), 4, "float");
  word("fop", offsetof(CpuRegisters, fpu.fop), 2, "float");
}

void GdbRegisters::add_control() {
  const auto control = [this](std::string_view name, size_t offset, std::string_view type) {
    add({std::string(name), 8, std::string(type), offset, 8, Feature::kControl, "system"});
  };
  control("k_gs_base", offsetof(CpuRegisters, kernel_gs_base), "int64");
  control("cr0", offsetof(CpuRegisters, system.cr0), "x64_cr0");
  control("cr2", offsetof(CpuRegisters, system.cr2), "int64");
  control("cr3", offsetof(CpuRegisters, system.cr3), "int64");
  control("cr4", offsetof(CpuRegisters, system.cr4), "x64_cr4");
  control("cr8", offsetof(CpuRegisters, system.cr8), "int64");
  control("efer", offsetof(CpuRegisters, system.efer), "x64_efer");
}

std::string GdbRegisters::description() const {
  struct Section {
    Feature feature;
    std::string_view name;
    std::string types;
  };
  const std::array<Section, 5> sections{{{Feature::kCore, "org.gnu.gdb.i386.core", core_types()},
                                         {Feature::kSse, "org.gnu.gdb.i386.sse", sse_types()},
                                         {Feature::kSegments, "org.gnu.gdb.i386.segments", {}},
                                         {Feature::kControl, "vmm.x86-64.control", control_types()},
                                         {Feature::kAvx, "org.gnu.gdb.i386.avx", {}}}};
  std::string text(kHead);
  size_t number = 0;
  for (const Section& section : sections) {
    if (number == table_.size()) break;
    text += fmt::format("<feature name=\"{}\">\n{}", section.name, section.types);
    for (; number < table_.size() && table_[number].feature == section.feature; ++number) {
      const Register& entry = table_[number];
      text += fmt::format("<reg name=\"{}\" bitsize=\"{}\" type=\"{}\" regnum=\"{}\"{}/>\n", entry.name, entry.size * 8,
                          entry.type, number, entry.group.empty() ? "" : fmt::format(" group=\"{}\"", entry.group));
    }
    text += "</feature>\n";
  }
  return text + "</target>\n";
}

std::optional<std::string> GdbRegisters::read(const CpuRegisters& from, size_t number) const {
  if (number >= table_.size()) return std::nullopt;
  const Register& entry = table_[number];
  std::string bytes(entry.size, '\0');
  const uint16_t tags = full_tags(from.fpu);
  const void* place =
      entry.is_tags ? static_cast<const void*>(&tags) : reinterpret_cast<const std::byte*>(&from) + entry.offset;
  std::memcpy(bytes.data(), place, entry.stored);
  return bytes;
}

std::string GdbRegisters::read_all(const CpuRegisters& from) const {
  std::string bytes;
  for (size_t number = 0; number < table_.size(); ++number) bytes += *read(from, number);
  return bytes;
}

bool GdbRegisters::write(CpuRegisters& to, size_t number, std::string_view bytes) const {
  if (number >= table_.size() || bytes.size() != table_[number].size) return false;
  const Register& entry = table_[number];
  if (entry.is_tags) {
    uint16_t tags = 0;
    std::memcpy(&tags, bytes.data(), sizeof tags);
    to.fpu.ftw = short_tags(tags);
  } else {
    std::memcpy(reinterpret_cast<std::byte*>(&to) + entry.offset, bytes.data(), entry.stored);
  }
  return true;
}

bool GdbRegisters::write_all(CpuRegisters& to, std::string_view bytes) const {
  if (bytes.size() != size_) return false;
  for (size_t number = 0; number < table_.size(); ++number) {
    write(to, number, bytes.substr(0, table_[number].size));
    bytes.remove_prefix(table_[number].size);
  }
  return true;
}

}  // namespace vmm
