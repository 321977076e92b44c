// Putting the machine together, and taking it to rest; see machine.h.
#include "vmm/machine/machine.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <utility>

#include "devices/virtio/block.h"
#include "devices/virtio/console.h"
#include "firmware/acpi/acpi.h"
#include "firmware/bios.h"
#include "firmware/boot_setup.h"
#include "firmware/layout_x86_64.h"
#include "firmware/smbios.h"
#include "vmm/core/check.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"
#include "vmm/kvm/x86_64/boot_state.h"
#include "vmm/kvm/x86_64/cpu_model.h"
#include "vmm/kvm/x86_64/interrupt_state.h"
#include "vmm/machine/device_table.h"
#include "vmm/machine/layout_x86_64.h"

namespace vmm {

namespace {

using Identifier = std::array<uint8_t, 16>;

Identifier random_identifier() {
  Identifier bytes;
  CHECK(::getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));  // never short below 256
  return bytes;
}

// RFC 4122 §4.4: version 4, random.
Identifier random_uuid() {
  Identifier uuid = random_identifier();
  uuid[6] = static_cast<uint8_t>(0x40 | (uuid[6] & 0x0f));
  uuid[8] = static_cast<uint8_t>(0x80 | (uuid[8] & 0x3f));
  return uuid;
}

BootState boot_state(const CpuEntry& entry) {
  return {.long_mode = entry.mode == CpuEntry::Mode::kLong64,
          .rip = entry.rip,
          .rax = entry.rax,
          .rbx = entry.rbx,
          .rsi = entry.rsi,
          .rsp = entry.rsp,
          .page_tables = entry.page_tables.value,
          .gdt = entry.gdt.value,
          .gdt_limit = entry.gdt_limit};
}

}  // namespace

Machine::Machine(EventLoop& loop, const MachineConfig& config, Backends& backends, std::function<void(Outcome)> on_end)
    : loop_(loop),
      config_(config),
      backends_(backends),
      on_end_(std::move(on_end)),
      memory_(layout::memory_ranges(config.memory),
              shares_memory(config) ? GuestMemory::Backing::kShared : GuestMemory::Backing::kPrivate),
      vm_(kvm_, memory_),
      host_(memory_, loop, vm_),
      power_irq_(host_.irq_line(layout::kAcpiIrq)),
      clock_irq_(host_.irq_line(layout::kRtcIrq)),
      pci_(memory_bus_, layout::kPciWindowStart, layout::kPciWindowSize),
      power_(*power_irq_,
             [this] {
               end({Outcome::Kind::kPoweroff, exit_code::kClean, "guest powered off"});
             }),
      clock_(loop, *clock_irq_, backends.clock_battery),
      keyboard_controller_([this] { end_by_reset("keyboard controller"); }),
      reset_port_(pci_.ports(), [this] { end_by_reset("reset register"); }),
      fw_cfg_(static_cast<uint16_t>(config.cpus), config.memory),
      self_(std::make_shared<Machine*>(this)) {
  plug_legacy_devices();
  plug_virtio_devices();
  create_vcpus();
  load_firmware_and_kernel();
}

Machine::~Machine() = default;

void Machine::plug_legacy_devices() {
  const auto plug = [this](uint64_t port, uint64_t count, Device& device) { CHECK(ports_.add(port, count, device)); };
  plug(layout::kKeyboardPort, I8042::kPorts, keyboard_controller_);
  plug(layout::kRtcPort, RtcCmos::kPorts, clock_);
  plug(layout::kFwCfgPort, FwCfg::kPorts, fw_cfg_);
  plug(layout::kAcpiPort, AcpiPm::kPorts, power_);
  plug(layout::kPciPort, ResetPort::kPorts, reset_port_);
  CHECK(memory_bus_.add(layout::kEcamStart, PciRoot::kEcamSize, pci_.ecam()));
  for (size_t i = 0; i < backends_.serial.size(); ++i) {
    const auto& place = layout::kSerialPorts[i];
    serial_.push_back(std::make_unique<SerialPort>(host_.irq_line(place.irq), *backends_.serial[i]));
    plug(place.port, Serial::kPorts, serial_.back()->serial);
  }
  if (!config_.debug_exit_port) return;
  debug_exit_.emplace([this](uint32_t status) {
    end({Outcome::Kind::kDebugExit, static_cast<int>(status & 0xff),
         fmt::format("guest ended with status {}", status)});
  });
  if (!ports_.add(*config_.debug_exit_port, DebugExit::kPorts, *debug_exit_)) {
    throw Error(fmt::format("port {:#x} is taken by a device", *config_.debug_exit_port), "--debug-exit 0xf4");
  }
}

void Machine::plug_virtio_devices() {
  const auto wire = [this](size_t slot) {
    const uint8_t irq = layout::kPciIrqs[slot % layout::kPciIrqs.size()];
    return PciRoot::Wire{host_.irq_line(irq), irq};
  };
  for (const DeviceKind& kind : device_table()) {
    for (auto& device : kind.make(config_, backends_)) {
      auto transport = std::make_unique<VirtioPci>(host_, std::move(device));
      virtio_.push_back(transport.get());
      const size_t slot = pci_.plug(std::move(transport), wire);
      log_debug("PCI slot {:02x}: {}", slot, virtio_.back()->device().name());
    }
  }
}

void Machine::create_vcpus() {
  if (config_.cpus > kvm_.max_vcpus()) {
    throw Error(fmt::format("this host's KVM allows {} vCPUs, not {}", kvm_.max_vcpus(), config_.cpus),
                fmt::format("--cpus {}", kvm_.max_vcpus()));
  }
  const VcpuThread::World world{.ports = ports_,
                                .memory_bus = memory_bus_,
                                .memory = memory_,
                                .end = [this](Outcome outcome) { end(std::move(outcome)); },
                                .debugged = [this] { stop_for_debugger(); },
                                .traced_events = config_.trace ? ExitTrace::events_each(config_.cpus) : 0};
  const auto features = CpuModel::parse(config_.cpu).leaves(kvm_);
  for (unsigned id = 0; id < config_.cpus; ++id) {
    const auto& thread = vcpus_.emplace_back(std::make_unique<VcpuThread>(kvm_, vm_, id, world));
    thread->vcpu().set_cpuid(with_topology(features, id, config_.cpus));
    set_firmware_state(thread->vcpu());
  }
}

void Machine::load_firmware_and_kernel() {
  const Platform platform = describe();
  write_bios(memory_);  // first: a kernel may be linked to where it is
  const CpuEntry entry = backends_.kernel.load(memory_, platform, &backends_.initrd);
  write_acpi(memory_, platform);
  write_smbios(memory_, platform);
  memory_.write_value(platform.vm_generation_id, random_identifier());
  uint16_t level_triggered = 1 << layout::kAcpiIrq;
  for (const uint8_t irq : layout::kPciIrqs) level_triggered |= static_cast<uint16_t>(1 << irq);
  vm_.set_level_triggered(level_triggered);
  set_boot_state(vcpus_.front()->vcpu(), boot_state(entry));
}

Platform Machine::describe() const {
  Platform platform;
  platform.cpus = config_.cpus;
  platform.ram = layout::memory_ranges(config_.memory);
  platform.ecam = {{layout::kEcamStart}, PciRoot::kEcamSize};
  platform.pci_window = {{layout::kPciWindowStart}, layout::kPciWindowSize};
  platform.pci_irqs = layout::kPciIrqs;
  for (size_t i = 0; i < serial_.size(); ++i) {
    platform.serial.push_back({layout::kSerialPorts[i].port, layout::kSerialPorts[i].irq});
  }
  platform.pm_base = layout::kAcpiPort;
  platform.sci_irq = layout::kAcpiIrq;
  platform.reset_port = layout::kResetPort;
  platform.sleep_type_s5 = AcpiPm::kSleepTypeOff;
  platform.vm_generation_id = kVmGenerationId;
  platform.serial_number = config_.serial_number.empty() ? config_.name : config_.serial_number;
  platform.uuid = random_uuid();
  platform.command_line = kernel_command_line(config_, backends_.kernel.info().kind);
  return platform;
}

void Machine::start() {
  for (const auto& vcpu : vcpus_) vcpu->start();
}

void Machine::pause() {
  paused_ = true;
  for (const auto& vcpu : vcpus_) vcpu->pause();
}

void Machine::resume() {
  const std::lock_guard lock(run_mutex_);
  if (ended_) return;
  paused_ = false;
  for (const auto& vcpu : vcpus_) vcpu->resume();
}

// The vCPUs are told to pause before anything else, so that a guest that asked for a reset does not run past it.
void Machine::end(Outcome outcome) {
  {
    const std::lock_guard lock(run_mutex_);
    if (ended_.exchange(true)) return;
    for (const auto& vcpu : vcpus_) vcpu->pause();
  }
  loop_.post([weak = std::weak_ptr(self_), outcome = std::move(outcome)] {
    const auto self = weak.lock();
    if (!self) return;
    (*self)->paused_ = true;
    (*self)->on_end_(outcome);
  });
}

// As with an end, the other vCPUs are told first. What the loop told them meanwhile is told anew.
void Machine::stop_for_debugger() {
  {
    const std::lock_guard lock(run_mutex_);
    if (ended_) return;
    for (const auto& vcpu : vcpus_) vcpu->pause();
  }
  loop_.post([weak = std::weak_ptr(self_)] {
    const auto self = weak.lock();
    if (!self || (*self)->ended_) return;
    (*self)->pause();
    if ((*self)->on_debug_event_) (*self)->on_debug_event_();
  });
}

void Machine::end_by_reset(const char* by_what) {
  end({Outcome::Kind::kReset, exit_code::kReset, fmt::format("guest asked for a reset ({})", by_what)});
}

template <typename Kind>
std::vector<Kind*> Machine::devices_of() const {
  std::vector<Kind*> found;
  for (VirtioPci* transport : virtio_) {
    if (auto* device = dynamic_cast<Kind*>(&transport->device())) found.push_back(device);
  }
  return found;
}

bool Machine::send_break(const CharBackend& console, std::optional<uint8_t> key) {
  const auto port =
      std::ranges::find_if(serial_, [&](const auto& candidate) { return &candidate->console == &console; });
  if (port != serial_.end()) (*port)->serial.send_break(key);
  return port != serial_.end();
}

bool Machine::send_sysrq(char key) {
  if (serial_.empty()) return false;
  serial_.front()->serial.send_break(static_cast<uint8_t>(key));
  return true;
}

void Machine::set_window_size(uint16_t columns, uint16_t rows) {
  for (VirtioConsole* console : devices_of<VirtioConsole>()) console->set_window_size(columns, rows);
}

void Machine::refresh_disks() {
  for (VirtioBlock* disk : devices_of<VirtioBlock>()) disk->refresh_size();
}

std::vector<std::string> Machine::busy_disks() const {
  std::vector<std::string> busy;
  for (const VirtioBlock* disk : devices_of<VirtioBlock>()) {
    if (disk->busy() || &disk->backend() == flushing_) busy.push_back(disk->backend().describe());
  }
  return busy;
}

bool Machine::disks_were_driven() const {
  return std::ranges::any_of(virtio_, [](VirtioPci* transport) {
    return transport->device().traits().device_id == VIRTIO_ID_BLOCK && transport->was_driven();
  });
}

void Machine::stop(std::function<void(bool)> done) {
  ended_ = true;
  for (const auto& vcpu : vcpus_) vcpu->request_stop();
  for (const auto& vcpu : vcpus_) vcpu->join();
  const auto flush = [this, done = std::move(done)] { loop_.spawn(flush_disks(done)); };
  devices_stopping_ = virtio_.size();
  if (virtio_.empty()) return flush();
  for (VirtioPci* transport : virtio_) {
    transport->stop([this, flush] {
      if (--devices_stopping_ == 0) flush();
    });
  }
}

// Whatever way a machine ends, its disks are flushed (D16).
Task<void> Machine::flush_disks(std::function<void(bool)> done) {
  bool flushed = true;
  for (const Disk& disk : backends_.disks) {
    if (!disk.backend) continue;
    flushing_ = disk.backend.get();
    if (const int error = co_await disk.backend->flush(); error != 0) {
      log_error("{}: the last flush failed: {}", disk.describe(), errno_text(error));
      flushed = false;
    }
  }
  flushing_ = nullptr;
  // Posted: `done` may destroy the machine, and this task with it.
  loop_.post([done, flushed] { done(flushed); });
}

void Machine::wait_at_rest() const {
  for (const auto& vcpu : vcpus_) vcpu->wait_at_rest();
}

void Machine::while_at_rest(const std::function<void()>& look) {
  const bool running = !paused_ && !ended_;
  if (running) pause();
  wait_at_rest();
  look();
  if (running) resume();
}

void Machine::look_inside(const std::function<void(const GuestMemory&, std::span<const CpuState>)>& look) {
  while_at_rest([&] {
    std::vector<CpuState> cpus;
    for (const auto& vcpu : vcpus_) cpus.push_back(vcpu->cpu_state());
    look(memory_, cpus);
  });
}

std::vector<HangWatch::Sample> Machine::sample_vcpus() {
  std::vector<HangWatch::Sample> samples;
  while_at_rest([&] {
    for (const auto& vcpu : vcpus_) samples.push_back(vcpu->sample());
  });
  for (size_t i = 0; i < samples.size(); ++i) {
    const KvmStats& stats = kvm_stats()[i];
    if (!stats.there()) continue;
    samples[i].counts = {.exits = stats.sum({"exits"}),
                         .accesses = stats.sum({"io_exits", "mmio_exits", "hypercalls"}),
                         .interrupts = stats.sum({"irq_injections"}),
                         .wakeups = stats.sum({"halt_wakeup", "halt_successful_poll"})};
  }
  return samples;
}

const std::vector<KvmStats>& Machine::kvm_stats() {
  if (kvm_stats_.empty()) {
    for (const auto& vcpu : vcpus_) kvm_stats_.emplace_back(kvm_, vcpu->vcpu().fd());
  }
  return kvm_stats_;
}

std::vector<KvmStats::Value> Machine::kvm_counts() {
  std::vector<KvmStats::Value> sums;
  for (const KvmStats& stats : kvm_stats()) {
    for (KvmStats::Value& value : stats.counts()) {
      const auto known = std::ranges::find(sums, value.name, &KvmStats::Value::name);
      if (known == sums.end()) {
        sums.push_back(std::move(value));
      } else {
        known->value += value.value;
      }
    }
  }
  return sums;
}

bool Machine::kernel_in_place() const { return backends_.kernel.info().kind != KernelKind::kBzImage; }

std::string Machine::describe_slot(size_t index) const {
  VirtioPci& transport = *virtio_[index];
  return fmt::format("00:{:02x}.0 {}{}\n", index + 1, transport.device().name(),
                     transport.was_driven() ? ", in use" : ", no driver has taken it up");
}

std::string Machine::describe_pci() const {
  std::string text;
  for (size_t i = 0; i < virtio_.size(); ++i) text += describe_slot(i);
  return text;
}

std::string Machine::describe_virtio() const {
  std::string text;
  for (size_t i = 0; i < virtio_.size(); ++i) text += describe_slot(i) + virtio_[i]->describe();
  return text;
}

std::string Machine::describe_interrupts() const {
  std::string text = describe_interrupt_controllers(vm_);
  for (const auto& vcpu : vcpus_) text += describe_local_apic(vcpu->vcpu());
  for (size_t i = 0; i < virtio_.size(); ++i) text += describe_slot(i) + virtio_[i]->describe_interrupts();
  return text;
}

std::string Machine::describe_memory() const {
  constexpr uint64_t kPage = 0x1000;
  std::map<uint64_t, std::pair<uint64_t, std::string_view>> parts{
      {layout::kPciWindowStart, {layout::kPciWindowSize, "PCI window"}},
      {layout::kEcamStart, {PciRoot::kEcamSize, "PCI configuration space"}},
      {layout::kIoApicStart, {kPage, "IO-APIC"}},
      {layout::kLocalApicStart, {kPage, "local APICs"}}};
  for (const GuestMemory::Region& region : memory_.regions()) parts[region.start.value] = {region.size, "RAM"};
  std::string text;
  for (const auto& [start, part] : parts) {
    text += fmt::format("{:#014x}-{:#014x} {}\n", start, start + part.first - 1, part.second);
  }
  return text;
}

std::vector<const ExitTrace*> Machine::traces() const {
  std::vector<const ExitTrace*> traces;
  for (const auto& vcpu : vcpus_) {
    if (vcpu->trace() != nullptr) traces.push_back(vcpu->trace());
  }
  return traces;
}

std::string Machine::device_name(const Device* device) {
  for (size_t i = 0; i < serial_.size(); ++i) {
    if (device == &serial_[i]->serial) return fmt::format("serial ttyS{}", i);
  }
  for (VirtioPci* transport : virtio_) {
    if (device == transport) return transport->device().name();
  }
  if (device == &pci_.ecam()) return "PCI configuration (memory)";
  if (device == &reset_port_) return "PCI configuration (ports)";
  if (device == &power_) return "ACPI power management";
  if (device == &clock_) return "RTC and CMOS";
  if (device == &keyboard_controller_) return "i8042 keyboard controller";
  if (device == &fw_cfg_) return "fw_cfg";
  return debug_exit_ && device == &*debug_exit_ ? "debug exit" : "unknown";
}

uint64_t Machine::exits() const {
  uint64_t sum = 0;
  for (const auto& vcpu : vcpus_) sum += vcpu->exits();
  return sum;
}

}  // namespace vmm
