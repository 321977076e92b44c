// Vmcore: a machine as a file has it: its memory, its registers, and what its kernel says of itself. It reads what
// vmcore_writer.h writes, what QEMU's dump-guest-memory does in its default format, kdump's /proc/vmcore, and what
// makedumpfile -E leaves of that. One that vmm compressed is read as it is (core_file.h).
//
// The file is anybody's and may be cut short: nothing in it is trusted, all sizes have a bound, and memory that it does
// not have is not there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "vmm/blackbox/core_file.h"
#include "vmm/blackbox/cpu_state.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

class Vmcore final : public PhysicalMemory {
 public:
  // Throws Error when there is no file, or it is not understood.
  explicit Vmcore(const std::string& path);

  using PhysicalMemory::read;
  bool read(GuestAddress address, std::span<std::byte> to) const override;
  void for_each_touched_page(const std::function<bool(GuestAddress)>& visit) const override;

  // The CPUs by number; control registers that the file lacks are zero.
  const std::vector<CpuState>& cpus() const { return cpus_; }
  const std::string& vmcoreinfo() const { return vmcoreinfo_; }  // empty: it has none

 private:
  // A stretch of memory: `in_file` bytes of it are in the file at `offset`, the rest are zeroes.
  struct Part {
    uint64_t start;
    uint64_t size;
    uint64_t offset;
    uint64_t in_file;
    uint64_t end() const { return start + size; }
  };

  void read_notes(uint64_t offset, uint64_t size, uint16_t machine);
  void add_part(Part part);
  void find_halted_cpus();
  bool visit_part(const Part& part, const std::function<bool(GuestAddress)>& visit, uint64_t& pages_left) const;

  CoreFile file_;
  std::vector<Part> parts_;  // ascending, not overlapping
  std::vector<CpuState> cpus_;
  std::string vmcoreinfo_;
};

}  // namespace vmm
