// GdbTarget: a machine as gdb's stub sees it (gdb_stub.h). The real one is in gdb_machine.h; tests have another.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/blackbox/cpu_state.h"
#include "vmm/control/gdb/gdb_registers.h"
#include "vmm/core/guest_memory.h"
#include "vmm/kvm/guest_debug.h"

namespace vmm {

class GdbTarget {
 public:
  enum class Run { kStay, kGo, kStep };
  // Orders to one vCPU. A step that ends in the range is followed by the next.
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
  virtual const GdbRegisters& register_table() const = 0;
  virtual const GuestMemory& memory() const = 0;
  // Whether the kernel lay where it runs from the beginning, as an ELF file does, or unpacks itself.
  virtual bool kernel_in_place() const = 0;

  // Returns when no vCPU runs. All that follows is asked of a machine at rest.
  virtual void stop() = 0;
  // What stopped vCPUs since they were last told to run.
  virtual std::vector<Event> take_events() = 0;
  virtual RegisterFile registers(unsigned cpu) const = 0;
  // False when the CPU cannot have these.
  virtual bool set_registers(unsigned cpu, const RegisterFile& before, const RegisterFile& wanted) = 0;
  virtual CpuState cpu_state(unsigned cpu) const = 0;
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
  // Where KASLR has moved a Linux kernel, as soon as that can be told.
  struct Kaslr {
    uint64_t offset = 0;
    uint64_t first_segment = 0;  // of the kernel, where it is now
  };
  virtual std::optional<Kaslr> kaslr() = 0;
  // What `monitor COMMAND` prints.
  virtual std::string monitor(std::string_view command) = 0;
};

}  // namespace vmm
