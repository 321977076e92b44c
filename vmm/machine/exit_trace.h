// ExitTrace: what one vCPU left the guest for: how often, for how long, and from where in the guest's code.
//
// The vCPU's thread records, others read while it rests. All memory is taken at the start: a table of rows, one for
// each combination of reason, device and instruction, and a ring of the last exits one by one. A guest that exits from
// more places than there are rows is counted without the place, and, should even that not fit, in one row for the rest:
// the counts always add up. Time is in ticks of the CPU's clock, because asking for nanoseconds takes longer than the
// recording itself; who reads them compares two moments on both clocks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "devices/device.h"
#include "vmm/kvm/host_cpu.h"

namespace vmm {

// "port write": what KVM_EXIT_* is called in a trace.
std::string exit_name(uint32_t reason, bool write);

class ExitTrace {
 public:
  struct Key {
    uint32_t reason = 0;  // KVM_EXIT_*
    bool write = false;
    const Device* device = nullptr;  // device that answered; only its identity is used
    uint64_t address = 0;            // where no device did
    uint64_t rip = 0;                // 0: not known, or there was no room to tell

    bool operator==(const Key&) const = default;
  };
  struct Row {
    Key key;
    uint64_t count = 0;  // 0: the row is free
    uint64_t ticks = 0;  // from the exit to its answer
  };
  struct Event {
    uint64_t began = 0;  // ticks
    uint32_t ticks = 0;  // at most UINT32_MAX
    uint32_t row = 0;    // in rows()
  };

  static constexpr uint64_t kKernelMap = 0xffffffff80000000;  // where x86-64 Linux runs: __START_KERNEL_map
  static constexpr size_t kPlaces = 4096;                     // rows with an instruction
  static constexpr size_t kDevices = 256;                     // and without
  static constexpr size_t kRest = kPlaces + kDevices;         // the last row: what fitted nowhere, with an empty key

  // `events`: how many of the last exits are kept one by one.
  explicit ExitTrace(size_t events);
  // So many that all vCPUs' together have a bound.
  static size_t events_each(unsigned cpus);

  static uint64_t now() { return cpu_ticks(); }
  // The vCPU is about to enter the guest for the first time.
  void begin() { begun_ = now(); }
  void record(const Key& key, uint64_t began, uint64_t ended);

  std::span<const Row> rows() const { return rows_; }
  std::vector<Event> events() const;  // the oldest first
  uint64_t exits() const { return exits_; }
  uint64_t begun() const { return begun_; }  // ticks; 0: not yet
  std::optional<uint64_t> first_kernel_exit() const { return first_kernel_exit_; }

 private:
  // The row of a key in a part of the table, taken if need be. Null when it has none and those tried are taken.
  Row* find(const Key& key, size_t start, size_t count);

  std::vector<Row> rows_;
  std::unique_ptr<Event[]> ring_;
  size_t ring_size_;
  uint64_t exits_ = 0;
  uint64_t begun_ = 0;
  std::optional<uint64_t> first_kernel_exit_;
};

}  // namespace vmm
