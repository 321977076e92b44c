// GdbMachine: a Machine as gdb's stub wants it, and what a person may ask besides with `monitor`.
#pragma once

#include <functional>

#include "vmm/control/gdb/gdb_target.h"
#include "vmm/control/socket/control_verbs.h"
#include "vmm/machine/machine.h"

namespace vmm {

class GdbMachine : public GdbTarget {
 public:
  enum class Change { kStopped, kRuns, kLeft };

  // `on_change` hears what was done to the machine. `controls` outlives it.
  GdbMachine(Controls& controls, std::function<void(Change)> on_change)
      : controls_(controls), on_change_(std::move(on_change)) {}

  // The machine of this boot, from then on. It outlives everything that is asked.
  void attach(Machine& machine);
  // Lets it run, undebugged, to where its kernel has unpacked itself. False, and it stays, when that cannot be told.
  bool run_to_kernel();

  unsigned cpus() const override;
  const GdbRegisters& register_table() const override { return *registers_; }
  const GuestMemory& memory() const override { return machine_->memory(); }
  bool kernel_in_place() const override { return machine_->kernel_in_place(); }
  void stop() override;
  std::vector<Event> take_events() override;
  RegisterFile registers(unsigned cpu) const override;
  bool set_registers(unsigned cpu, const RegisterFile& before, const RegisterFile& wanted) override;
  CpuState cpu_state(unsigned cpu) const override { return machine_->vcpus()[cpu]->cpu_state(); }
  std::optional<GuestAddress> translate(unsigned cpu, uint64_t address) const override;
  std::string_view activity(unsigned cpu) const override;
  void give_to_guest(const Event& event) override;
  void go(std::span<const Order> orders, const GuestDebug& debug) override;
  void leave() override;
  void kill() override { controls_.quit(); }
  std::optional<Kaslr> kaslr() override;
  std::string monitor(std::string_view command) override;

 private:
  struct Command;
  static const std::vector<Command> kCommands;

  std::string help(std::string_view);
  std::string tell_log(std::string_view);
  std::string tell_why(std::string_view);
  std::string send_sysrq(std::string_view key);
  std::string send_nmi(std::string_view);
  std::string reset(std::string_view);
  std::string tell_about(std::string_view what);
  std::optional<uint64_t> mapped_kernel() const;
  void watch_for_kernel();
  void resume();

  Controls& controls_;
  std::function<void(Change)> on_change_;
  Machine* machine_ = nullptr;
  std::optional<GdbRegisters> registers_;  // of its vCPUs
  bool kernel_runs_ = false;               // as far as is known
};

}  // namespace vmm
