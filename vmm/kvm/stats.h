// KvmStats: what KVM itself counts of a machine or of a vCPU: exits and why, also those that it answers by itself,
// interrupts, halts. KVM's binary statistics, Linux 5.14 and later: Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD.
// It takes neither root nor debugfs.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/core/fd.h"
#include "vmm/kvm/kvm.h"

namespace vmm {

class KvmStats {
 public:
  struct Value {
    std::string name;  // as KVM calls it: "exits", "halt_wakeup", "irq_injections"
    uint64_t value = 0;
  };

  // `fd`: of a Vm or a Vcpu. There are none, then, where the host has no such statistics.
  KvmStats(const Kvm& kvm, int fd);
  // `file`: as KVM_GET_STATS_FD returns one.
  explicit KvmStats(UniqueFd file);

  bool there() const { return !places_.empty(); }
  // Counts that only ever grow, neither times nor histograms. Any thread.
  std::vector<Value> counts() const;
  // The sum of those by these names that there are; empty when there is none.
  std::optional<uint64_t> sum(std::initializer_list<std::string_view> names) const;

 private:
  struct Place {
    std::string name;
    uint64_t offset;  // in the file
  };
  void find_places();

  UniqueFd file_;
  std::vector<Place> places_;
};

// Adds `more` to the counts of the same names.
void add_counts(std::vector<KvmStats::Value>& sums, const std::vector<KvmStats::Value>& more);

}  // namespace vmm
