// The table; see gdb_registers.h.
#include "vmm/control/gdb/gdb_registers.h"

#include <fmt/core.h>

#include <cstring>
#include <utility>

namespace vmm {

GdbRegisters::GdbRegisters(std::string architecture, std::vector<Feature> features) {
  description_ = fmt::format(
      "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM "
      "\"gdb-target.dtd\">\n<target>\n<architecture>{}</architecture>\n",
      architecture);
  for (Feature& feature : features) {
    description_ += fmt::format("<feature name=\"{}\">\n{}", feature.name, feature.types);
    for (Register& entry : feature.registers) {
      description_ +=
          fmt::format("<reg name=\"{}\" bitsize=\"{}\" type=\"{}\" regnum=\"{}\"{}/>\n", entry.name, entry.size * 8,
                      entry.type, table_.size(), entry.group.empty() ? "" : fmt::format(" group=\"{}\"", entry.group));
      size_ += entry.size;
      table_.push_back(std::move(entry));
    }
    description_ += "</feature>\n";
  }
  description_ += "</target>\n";
}

std::string GdbRegisters::flags(std::string_view id, unsigned size, const std::vector<Bit>& bits) {
  std::string text = fmt::format("<flags id=\"{}\" size=\"{}\">\n", id, size);
  for (const auto& [name, bit] : bits)
    text += fmt::format("<field name=\"{0}\" start=\"{1}\" end=\"{1}\"/>\n", name, bit);
  return text + "</flags>\n";
}

std::optional<std::string> GdbRegisters::read(const RegisterFile& from, size_t number) const {
  if (number >= table_.size()) return std::nullopt;
  const Register& entry = table_[number];
  std::string bytes(entry.size, '\0');
  std::memcpy(bytes.data(), from.data() + entry.offset, entry.stored);
  return bytes;
}

std::string GdbRegisters::read_all(const RegisterFile& from) const {
  std::string bytes;
  for (size_t number = 0; number < table_.size(); ++number) bytes += *read(from, number);
  return bytes;
}

bool GdbRegisters::write(RegisterFile& to, size_t number, std::string_view bytes) const {
  if (number >= table_.size() || bytes.size() != table_[number].size) return false;
  const Register& entry = table_[number];
  std::memcpy(to.data() + entry.offset, bytes.data(), entry.stored);
  return true;
}

bool GdbRegisters::write_all(RegisterFile& to, std::string_view bytes) const {
  if (bytes.size() != size_) return false;
  for (size_t number = 0; number < table_.size(); ++number) {
    write(to, number, bytes.substr(0, table_[number].size));
    bytes.remove_prefix(table_[number].size);
  }
  return true;
}

}  // namespace vmm
