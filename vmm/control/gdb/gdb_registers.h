// The registers of a CPU as gdb numbers, names and transfers them: a table, from which come the target description and
// the bytes of the packets g, G, p and P. The names of features and registers are gdb's own ("Standard Target Features"
// in appendix G of its manual), with system registers beside them, as QEMU has them.
//
// What a CPU has in its registers is a file: the bytes of the architecture's CpuRegisters
// (vmm/kvm/ARCH/cpu_registers.h).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/kvm/vcpu.h"

namespace vmm {

using RegisterFile = std::vector<std::byte>;

class GdbRegisters {
 public:
  struct Register {
    std::string name;
    unsigned size = 8;  // bytes as gdb wants them
    std::string type;
    size_t offset = 0;    // in the file
    unsigned stored = 8;  // bytes there; the others are zero
    std::string group;
  };
  struct Feature {
    std::string name;
    std::string types;  // their definitions, in XML
    std::vector<Register> registers;
  };

  GdbRegisters(std::string architecture, std::vector<Feature> features);

  size_t count() const { return table_.size(); }
  size_t size_of_all() const { return size_; }  // bytes
  // What the document `target.xml` says.
  const std::string& description() const { return description_; }

  // The bytes of one, or all in order, least significant first. Nothing when there is no such register.
  std::optional<std::string> read(const RegisterFile& from, size_t number) const;
  std::string read_all(const RegisterFile& from) const;
  // False when there is no such register, or its size is another.
  bool write(RegisterFile& to, size_t number, std::string_view bytes) const;
  bool write_all(RegisterFile& to, std::string_view bytes) const;

  // A definition of a type of so many bytes, with names for some of its bits.
  struct Bit {
    std::string_view name;
    unsigned number;
  };
  static std::string flags(std::string_view id, unsigned size, const std::vector<Bit>& bits);

 private:
  std::vector<Register> table_;
  size_t size_ = 0;
  std::string description_;
};

// In gdb_registers_ARCH.cc: what this vCPU has. At rest.
GdbRegisters gdb_registers(const Vcpu& vcpu);
RegisterFile read_register_file(const Vcpu& vcpu);
// Writes what differs from `before`. False when KVM refuses some of it.
bool write_register_file(const Vcpu& vcpu, const RegisterFile& before, const RegisterFile& wanted);

}  // namespace vmm
