// See gdb_machine.h. What `monitor` says is at the end.
#include "vmm/control/gdb/gdb_machine.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "vmm/blackbox/address_space.h"
#include "vmm/blackbox/black_box.h"
#include "vmm/blackbox/kernel_map.h"
#include "vmm/core/error.h"

namespace vmm {

unsigned GdbMachine::cpus() const { return static_cast<unsigned>(machine_->vcpus().size()); }

void GdbMachine::attach(Machine& machine) {
  machine_ = &machine;
  registers_ = gdb_registers(machine.vcpus().front()->vcpu());
  kernel_runs_ = machine.kernel_in_place();
}

bool GdbMachine::run_to_kernel() {
  if (kernel_runs_ || !machine_->watch_for_kernel(true)) return false;
  machine_->resume();
  return true;
}

// Until the kernel has unpacked itself, breakpoints in it cannot be in memory.
void GdbMachine::watch_for_kernel() {
  if (!kernel_runs_ && mapped_kernel()) kernel_runs_ = true;
  if (!kernel_runs_) machine_->watch_for_kernel(true);
}

void GdbMachine::stop() {
  const bool was_running = !machine_->paused();
  machine_->pause();
  machine_->wait_at_rest();
  if (was_running) on_change_(Change::kStopped);
}

std::vector<GdbTarget::Event> GdbMachine::take_events() {
  machine_->wait_at_rest();
  std::vector<Event> events;
  for (const auto& vcpu : machine_->vcpus()) {
    const auto event = vcpu->take_debug_event();
    if (event) events.push_back({vcpu->vcpu().id(), *event});
    if (!event || !event->kernel_entered) continue;
    kernel_runs_ = true;
    machine_->watch_for_kernel(false);
  }
  return events;
}

RegisterFile GdbMachine::registers(unsigned cpu) const { return read_register_file(machine_->vcpus()[cpu]->vcpu()); }

bool GdbMachine::set_registers(unsigned cpu, const RegisterFile& before, const RegisterFile& wanted) {
  return write_register_file(machine_->vcpus()[cpu]->vcpu(), before, wanted);
}

std::optional<GuestAddress> GdbMachine::translate(unsigned cpu, uint64_t address) const {
  return vmm::translate(machine_->vcpus()[cpu]->vcpu(), address);
}

std::string_view GdbMachine::activity(unsigned cpu) const {
  switch (machine_->vcpus()[cpu]->cpu_state().activity) {
    case CpuState::Activity::kHalted:
      return "halted";
    case CpuState::Activity::kNotStarted:
      return "not started";
    case CpuState::Activity::kRunning:
      break;
  }
  return "running";
}

void GdbMachine::give_to_guest(const Event& event) {
  const auto& thread = machine_->vcpus()[event.cpu];
  vmm::give_to_guest(thread->vcpu(), thread->debug_order().debug, event.what);
}

void GdbMachine::go(std::span<const Order> orders, const GuestDebug& debug) {
  for (const auto& thread : machine_->vcpus()) {
    const Order& order = orders[thread->vcpu().id()];
    VcpuThread::DebugOrder wanted{.debug = debug,
                                  .held = order.run == Run::kStay,
                                  .range_start = order.range_start,
                                  .range_end = order.range_end};
    wanted.debug.step = order.run == Run::kStep;
    thread->obey(wanted);
    excuse_pause(thread->vcpu());
  }
  watch_for_kernel();
  resume();
}

void GdbMachine::leave() {
  machine_->wait_at_rest();
  machine_->watch_for_kernel(false);
  for (const auto& thread : machine_->vcpus()) {
    thread->obey({});
    excuse_pause(thread->vcpu());
  }
  resume();
  on_change_(Change::kLeft);
}

void GdbMachine::resume() {
  machine_->resume();
  if (!machine_->paused()) on_change_(Change::kRuns);
}

// gdb waits two seconds for an answer: page tables of x86 tell at once, and memory is searched only where they have
// nothing of a kernel.
std::optional<GdbTarget::Kaslr> GdbMachine::kaslr() {
  if (machine_->kernel_in_place()) return std::nullopt;
  if (const auto start = mapped_kernel()) return Kaslr{*start - kLinkedX86Image, *start};
  std::optional<Kaslr> found;
  machine_->look_inside([&found](const GuestMemory& memory, std::span<const CpuState> cpus) {
    const BlackBox kernel(memory, cpus);
    const auto offset = kernel.kaslr_offset();
    const auto image = kernel.image();
    if (offset && image) found = Kaslr{*offset, image->address};
  });
  return found;
}

std::optional<uint64_t> GdbMachine::mapped_kernel() const {
  for (const auto& thread : machine_->vcpus()) {
    const CpuState state = thread->cpu_state();
    const auto space = state.x86() != nullptr ? AddressSpace::of(memory(), *state.x86()) : std::nullopt;
    if (const auto start = space ? mapped_x86_image(*space) : std::nullopt) return start;
  }
  return std::nullopt;
}

// ---- monitor

struct GdbMachine::Command {
  std::string_view name;
  std::string_view help;
  std::string (GdbMachine::*serve)(std::string_view argument);
};

const std::vector<GdbMachine::Command> GdbMachine::kCommands{
    {"help", "this list", &GdbMachine::help},
    {"dmesg", "the kernel's log, out of its memory", &GdbMachine::tell_log},
    {"why", "what every vCPU is doing, told from its memory", &GdbMachine::tell_why},
    {"sysrq", "KEY: a magic SysRq on the serial line, which the guest gets when it runs", &GdbMachine::send_sysrq},
    {"nmi", "an NMI for every vCPU, which the guest gets when it runs", &GdbMachine::send_nmi},
    {"reset", "begin anew, and stop before the first instruction", &GdbMachine::reset},
    {"info", "mem, pci, irq or virtio", &GdbMachine::tell_about},
};

std::string GdbMachine::monitor(std::string_view command) {
  const size_t space = command.find(' ');
  const std::string_view name = command.substr(0, space);
  const std::string_view argument = space == command.npos ? std::string_view() : command.substr(space + 1);
  const auto found = std::ranges::find(kCommands, name, &Command::name);
  if (found == kCommands.end()) return "there is no such command\n" + help({});
  try {
    return (this->*found->serve)(argument);
  } catch (const Error& error) {
    return fmt::format("{}\n{}{}", error.what(), error.fix(), error.fix().empty() ? "" : "\n");
  }
}

std::string GdbMachine::help(std::string_view) {
  std::string text;
  for (const Command& command : kCommands) text += fmt::format("monitor {:<6} {}\n", command.name, command.help);
  return text;
}

std::string GdbMachine::tell_log(std::string_view) {
  const Findings findings = controls_.look_inside();
  std::string text;
  for (const std::string& line : findings.log) text += line + "\n";
  return text.empty() ? "no kernel log was found in the guest's memory\n" + findings.stacks() : text;
}

std::string GdbMachine::tell_why(std::string_view) {
  const Findings findings = controls_.look_inside();
  return fmt::format("{}\n{}", findings.kernel.empty() ? "no kernel that is understood" : findings.kernel,
                     findings.stacks());
}

std::string GdbMachine::send_sysrq(std::string_view key) {
  if (key.size() != 1) return "sysrq takes one key: monitor sysrq t\n";
  controls_.send_sysrq(key.front());
  return "sent\n";
}

std::string GdbMachine::send_nmi(std::string_view) {
  controls_.send_nmi();
  return "sent\n";
}

std::string GdbMachine::reset(std::string_view) {
  controls_.reset();
  return "reset; now: maintenance flush register-cache\n";
}

std::string GdbMachine::tell_about(std::string_view what) {
  if (what == "mem") return machine_->describe_memory();
  if (what == "pci") return machine_->describe_pci();
  if (what == "virtio") return machine_->describe_virtio();
  if (what == "irq") return machine_->describe_interrupts();
  return "monitor info mem, pci, irq or virtio\n";
}

}  // namespace vmm
