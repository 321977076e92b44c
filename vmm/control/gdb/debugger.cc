// gdb at a machine; see debugger.h.
#include "vmm/control/gdb/debugger.h"

#include <fmt/core.h>
#include <unistd.h>

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "vmm/blackbox/black_box.h"
#include "vmm/blackbox/vmcoreinfo.h"
#include "vmm/control/gdb/gdb_machine.h"
#include "vmm/control/gdb/gdb_server.h"
#include "vmm/control/gdb/symbol_file.h"
#include "vmm/control/verdict/result.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

namespace {

// The file with the symbols: what was named, the kernel itself where it is no bzImage, or the one in the tree that a
// bzImage was built in.
std::string symbol_file(const DebugConfig& config, const std::string& kernel) {
  constexpr std::string_view kInTree = "arch/x86/boot/bzImage";
  if (!config.vmlinux.empty()) return config.vmlinux;
  if (kernel.find("vmlinux") != kernel.npos) return kernel;
  if (!kernel.ends_with(kInTree)) return {};
  const std::string beside = kernel.substr(0, kernel.size() - kInTree.size()) + "vmlinux";
  return ::access(beside.c_str(), R_OK) == 0 ? beside : std::string();
}

class GdbDebugger final : public Debugger {
 public:
  GdbDebugger(EventLoop& loop, const DebugConfig& config, const MachineConfig& machine, Controls& controls,
              Hooks hooks);

  bool begin(Machine& machine) override;
  void stop_and_wait() override;
  bool take_panic(std::string_view reason) override;
  void end(int exit_code) override;
  bool attached() const override { return server_ && server_->stub().attached(); }
  bool holds_machine() const override { return attached() && !server_->stub().running(); }

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

GdbDebugger::GdbDebugger(EventLoop& loop, const DebugConfig& config, const MachineConfig& machine, Controls& controls,
                         Hooks hooks)
    : loop_(loop),
      config_(config),
      machine_config_(machine),
      hooks_(std::move(hooks)),
      address_(config.address.empty() ? GdbAddress::by_default(machine.name) : GdbAddress::parse(config.address)),
      target_(controls, [this](GdbMachine::Change change) { on_change(change); }) {
  if (!config.vmlinux.empty()) symbols_.emplace(config.vmlinux);
}

bool GdbDebugger::begin(Machine& machine) {
  machine_ = &machine;
  panicked_ = false;
  symbols_compared_ = false;
  target_.attach(machine);
  machine.set_on_debug_event([this] { on_event(); });
  if (config_.listen && !server_) open();
  if (!attached()) {
    kernel_awaited_ = config_.at_kernel && target_.run_to_kernel();
    if (config_.listen && !kernel_awaited_) log_info("gdb: {}", gdb_command());
    return kernel_awaited_ || !machine_config_.paused;
  }
  server_->stub().on_new_machine();
  hooks_.on_stop(true);
  return false;
}

void GdbDebugger::open() { server_.emplace(loop_, address_, target_); }

std::string GdbDebugger::gdb_command() const {
  std::vector<std::string> words{"gdb"};
  if (const std::string symbols = symbol_file(config_, machine_config_.kernel); !symbols.empty()) {
    words.push_back(symbols);
  }
  words.insert(words.end(), {"-ex", "target remote " + address_.for_gdb()});
  return shell_line(words);
}

void GdbDebugger::stop_and_wait() {
  if (attached()) return server_->stub().interrupt();
  try {
    if (!server_) open();
  } catch (const Error& error) {
    return log_error("{}", error.what());
  }
  machine_->pause();
  symbols_compared_ = false;
  compare_symbols();
  log_info("stopped; {}", gdb_command());
}

bool GdbDebugger::take_panic(std::string_view reason) {
  if (!attached() && (!config_.on_panic || panicked_)) return false;
  panicked_ = true;
  log_info("kernel panic: {}", reason);
  stop_and_wait();
  return true;
}

void GdbDebugger::on_event() {
  if (!server_) return target_.leave();
  if (std::exchange(kernel_awaited_, false) && !attached()) {
    target_.take_events();
    const uint64_t offset = target_.kaslr().value_or(GdbTarget::Kaslr{}).offset;
    log_info("the kernel is unpacked{}", offset == 0 ? "" : fmt::format(", and moved by {:#x} (KASLR)", offset));
    return log_info("gdb: {}", gdb_command());
  }
  GdbStub& stub = server_->stub();
  stub.on_event();
  if (holds_machine()) hooks_.on_stop(true);
}

// A kernel that has not booted does not tell. Memory is searched for what it tells, so that is done once.
void GdbDebugger::compare_symbols() {
  if (!symbols_ || symbols_->build_id().empty() || std::exchange(symbols_compared_, true)) return;
  std::string running;
  machine_->look_inside([&running](const GuestMemory& memory, std::span<const CpuState> cpus) {
    const auto info = VmcoreInfo::parse(BlackBox(memory, cpus).vmcoreinfo());
    if (info) running = info->build_id();
  });
  if (running.empty() || running == symbols_->build_id()) return;
  log_warn("--vmlinux '{}' is not of the kernel that runs: its build ID is {}, the kernel's {}", symbols_->path(),
           symbols_->build_id(), running);
  log_warn("  fix: pass the vmlinux that was built together with '{}'", machine_config_.kernel);
}

void GdbDebugger::on_change(GdbMachine::Change change) {
  if (change == GdbMachine::Change::kStopped) compare_symbols();
  hooks_.on_stop(change == GdbMachine::Change::kStopped);
  if (change == GdbMachine::Change::kLeft) hooks_.on_leave();
}

void GdbDebugger::end(int exit_code) {
  if (server_) server_->end(exit_code);
}

}  // namespace

std::unique_ptr<Debugger> Debugger::make(EventLoop& loop, const DebugConfig& config, const MachineConfig& machine,
                                         Controls& controls, Hooks hooks) {
  return std::make_unique<GdbDebugger>(loop, config, machine, controls, std::move(hooks));
}

}  // namespace vmm
