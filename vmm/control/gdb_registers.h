// The registers of an x86-64 CPU as gdb numbers, names and transfers them: a table, from which come the target
// description and the bytes of the packets g, G, p and P. The names of features and registers are gdb's own ("i386
// Features" in appendix G of its manual), with the control registers and MSRs beside them, as QEMU has them.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vmm/kvm/x86_64/cpu_registers.h"

namespace vmm {

class GdbRegisters {
 public:
  explicit GdbRegisters(bool has_avx);

  size_t count() const { return table_.size(); }
  size_t size_of_all() const { return size_; }  // bytes
  // What the document `target.xml` says.
  std::string description() const;

  // The bytes of one, or all in order, least significant first. Nothing when there is no such register.
  std::optional<std::string> read(const CpuRegisters& from, size_t number) const;
  std::string read_all(const CpuRegisters& from) const;
  // False when there is no such register, or its size is another.
  bool write(CpuRegisters& to, size_t number, std::string_view bytes) const;
  bool write_all(CpuRegisters& to, std::string_view bytes) const;

 private:
  enum class Feature { kCore, kSse, kSegments, kControl, kAvx };
  struct Register {
    std::string name;
    unsigned size = 8;  // bytes as gdb wants them
    std::string type;
    size_t offset = 0;    // in CpuRegisters
    unsigned stored = 8;  // bytes there; the others are zero
    Feature feature = Feature::kCore;
    std::string group;
    bool is_tags = false;  // the x87's, which are kept in another form
  };

  void add(Register entry);
  void add_core();
  void add_control();

  std::vector<Register> table_;
  size_t size_ = 0;
};

}  // namespace vmm
