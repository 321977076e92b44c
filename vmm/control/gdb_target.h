// GdbTarget: a machine as gdb's stub sees it (gdb_stub.h). The real one is in gdb_machine.h; tests have another.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/core/guest_memory.h"
#include "vmm/kvm/guest_debug.h"
#include "vmm/kvm/x86_64/cpu_registers.h"

namespace vmm {

// Where Linux is linked to: __START_KERNEL_map and the default CONFIG_PHYSICAL_START.
constexpr uint64_t kLinkedKernel = 0xffffffff81000000;

class GdbTarget {
 public:
  enum class Run { kStay, kGo, kStep };
  // For one vCPU. Steps that end in the range are followed by the next.
  struct Order {
    Run run = Run::kStay;
    uint64_t range_start = 0, range_end = 0;
  };
  struct Event {
    unsigned cpu = 0;
    DebugEvent what;
  };

  virtual ~GdbTarget() = default;
  virtual unsigned cpus() const = 0;
  virtual bool has_avx() const = 0;
  virtual const GuestMemory& memory() const = 0;
  // Whether the kernel lay where it runs from the beginning, as an ELF file does, or unpacks itself.
  virtual bool kernel_in_place() const = 0;

  // Returns when no vCPU runs. All that follows is asked of a machine at rest.
  virtual void stop() = 0;
  // What stopped vCPUs since they were last told to run.
  virtual std::vector<Event> take_events() = 0;
  virtual CpuRegisters registers(unsigned cpu) const = 0;
  // False when the CPU cannot have these.
  virtual bool set_registers(unsigned cpu, const CpuRegisters& before, const CpuRegisters& wanted) = 0;
  // As the CPU itself translates, for modes that have no page tables of AddressSpace's.
  virtual std::optional<GuestAddress> translate(unsigned cpu, uint64_t address) const = 0;
  // "running", "halted", "not started".
  virtual std::string_view activity(unsigned cpu) const = 0;
  // The guest's own breakpoint or debug exception.
  virtual void give_to_guest(const Event& event) = 0;

  // Runs the vCPUs, one order each. `debug` holds for all; its `step` is as ordered.
  virtual void go(std::span<const Order> orders, const GuestDebug& debug) = 0;
  // Debugs no more; the machine runs.
  virtual void leave() = 0;
  // Ends the run.
  virtual void kill() = 0;
  // How far KASLR has moved a Linux kernel, as soon as that can be told.
  virtual std::optional<uint64_t> kaslr_offset() = 0;
  // What `monitor COMMAND` prints.
  virtual std::string monitor(std::string_view command) = 0;
};

}  // namespace vmm
