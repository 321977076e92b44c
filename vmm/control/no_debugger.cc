// Where gdb's stub does not know the CPU's registers yet; see debugger.h. The command line refuses what asks for it, so
// what is left is the key.
#include <memory>
#include <string_view>

#include "vmm/control/debugger.h"
#include "vmm/core/log.h"
#include "vmm/machine/architecture.h"

namespace vmm {

namespace {

class NoDebugger final : public Debugger {
 public:
  explicit NoDebugger(const MachineConfig& machine) : paused_(machine.paused) {}
  bool begin(Machine&) override { return !paused_; }
  void stop_and_wait() override { log_info("gdb is not there for {} guests yet", kArchitecture.name); }
  bool take_panic(std::string_view) override { return false; }
  void end(int) override {}
  bool attached() const override { return false; }
  bool holds_machine() const override { return false; }

 private:
  const bool paused_;
};

}  // namespace

std::unique_ptr<Debugger> Debugger::make(EventLoop&, const DebugConfig&, const MachineConfig& machine, Controls&,
                                         Hooks) {
  return std::make_unique<NoDebugger>(machine);
}

}  // namespace vmm
