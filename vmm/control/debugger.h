// Debugger: gdb's place in a run: the port it comes in by, opened at the start, by a key or by a panic, and what its
// being there means for the rest.
//
// `vmm debug` runs a kernel that unpacks itself up to where it has: only then it is known where KASLR put it, which gdb
// has to hear when it comes.
//
// What --vmlinux names is read at the start, and compared with the kernel that runs when gdb comes: by the build ID
// that a kernel tells of itself.
//
// While gdb is attached nobody else lets the machine run or calls it hung, and while it has the machine stopped, no
// time limit runs. A panic is shown to gdb instead of ending the run, which it does when gdb has left; after a reset
// the machine stands before its first instruction.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "vmm/control/control_verbs.h"
#include "vmm/control/gdb_address.h"
#include "vmm/control/gdb_machine.h"
#include "vmm/control/gdb_server.h"
#include "vmm/control/symbol_file.h"
#include "vmm/core/event_loop.h"
#include "vmm/machine/config.h"
#include "vmm/machine/machine.h"

namespace vmm {

class Debugger {
 public:
  struct Hooks {
    std::function<void(bool stopped)> on_stop;  // gdb stopped it, or let it run
    std::function<void()> on_leave;
  };

  // All outlive it. Throws Error when --vmlinux has no symbols.
  Debugger(EventLoop& loop, const DebugConfig& config, const MachineConfig& machine, Controls& controls, Hooks hooks);

  // The machine of this boot, before it runs. False when it is to stay where it is, for gdb. Throws Error when the port
  // cannot be opened.
  bool begin(Machine& machine);
  // Opens the port, stops the machine, and tells how gdb is started. What is wrong is logged.
  void stop_and_wait();
  // True when a panic is gdb's affair.
  bool take_panic(std::string_view reason);
  void end(int exit_code);

  bool attached() const { return server_ && server_->stub().attached(); }
  bool holds_machine() const { return attached() && !server_->stub().running(); }

 private:
  void open();
  void on_event();
  void on_change(GdbMachine::Change change);
  std::string gdb_command() const;
  void compare_symbols();

  EventLoop& loop_;
  const DebugConfig& config_;
  const MachineConfig& machine_config_;
  Hooks hooks_;
  GdbAddress address_;
  std::optional<SymbolFile> symbols_;  // of --vmlinux
  bool symbols_compared_ = false;      // with the kernel of this boot
  GdbMachine target_;
  std::optional<GdbServer> server_;
  Machine* machine_ = nullptr;
  bool panicked_ = false;
  bool kernel_awaited_ = false;  // by nobody but us
};

}  // namespace vmm
