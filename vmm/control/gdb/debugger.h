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
#include <memory>
#include <string_view>

#include "vmm/control/gdb/gdb_address.h"
#include "vmm/control/socket/control_verbs.h"
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

  // The debugger of this architecture: gdb's, or where there is none one that does nothing. All arguments outlive it.
  // Throws Error when --vmlinux has no symbols.
  static std::unique_ptr<Debugger> make(EventLoop& loop, const DebugConfig& config, const MachineConfig& machine,
                                        Controls& controls, Hooks hooks);
  virtual ~Debugger() = default;

  // Takes the machine of this boot, before it runs. False when the machine is to stay stopped, for gdb. Throws Error
  // when the port cannot be opened.
  virtual bool begin(Machine& machine) = 0;
  // Opens the port, stops the machine, and prints how gdb is started. Errors are logged.
  virtual void stop_and_wait() = 0;
  // Whether the debugger keeps a machine that panicked, for --on-panic gdb.
  virtual bool take_panic(std::string_view reason) = 0;
  virtual void end(int exit_code) = 0;

  virtual bool attached() const = 0;
  virtual bool holds_machine() const = 0;
};

}  // namespace vmm
