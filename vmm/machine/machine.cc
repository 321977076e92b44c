// Putting the machine together, and taking it to rest; see machine.h.
#include "vmm/machine/machine.h"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "devices/virtio/console.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"
#include "vmm/machine/device_table.h"

namespace vmm {

Machine::Machine(EventLoop& loop, const MachineConfig& config, Backends& backends, std::function<void(Outcome)> on_end)
    : loop_(loop),
      config_(config),
      backends_(backends),
      on_end_(std::move(on_end)),
      memory_(memory_ranges(config.memory),
              shares_memory(config) ? GuestMemory::Backing::kShared : GuestMemory::Backing::kPrivate),
      vm_(kvm_, memory_),
      host_(memory_, loop, vm_),
      board_(Board::make({.loop = loop,
                          .config = config,
                          .backends = backends,
                          .kvm = kvm_,
                          .vm = vm_,
                          .host = host_,
                          .ports = ports_,
                          .memory_bus = memory_bus_,
                          .end = [this](Outcome outcome) { end(std::move(outcome)); }})),
      self_(std::make_shared<Machine*>(this)) {
  plug_virtio_devices();
  create_vcpus();
  board_->prepare(memory_, vcpus_);
}

Machine::~Machine() = default;

void Machine::plug_virtio_devices() {
  const auto wire = [this](size_t slot) { return board_->pci_wire(slot); };
  for (const DeviceKind& kind : device_table()) {
    for (auto& device : kind.make(config_, backends_)) {
      auto transport = std::make_unique<VirtioPci>(host_, std::move(device));
      virtio_.push_back(transport.get());
      const size_t slot = board_->pci().plug(std::move(transport), wire);
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
                                .device_name = [this](const Device* device) { return device_name(device); },
                                .traced_events = config_.trace ? ExitTrace::events_each(config_.cpus) : 0};
  for (unsigned id = 0; id < config_.cpus; ++id) {
    vcpus_.push_back(std::make_unique<VcpuThread>(kvm_, vm_, id, world));
    kvm_stats_.emplace_back(kvm_, vcpus_.back()->vcpu().fd());
  }
}

void Machine::start() {
  loop_.end_patience();  // a vCPU has none
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

template <typename Kind>
std::vector<Kind*> Machine::devices_of() const {
  std::vector<Kind*> found;
  for (VirtioPci* transport : virtio_) {
    if (auto* device = dynamic_cast<Kind*>(&transport->device())) found.push_back(device);
  }
  return found;
}

void Machine::set_window_size(uint16_t columns, uint16_t rows) {
  for (VirtioConsole* console : devices_of<VirtioConsole>()) console->set_window_size(columns, rows);
}

VirtioBalloon* Machine::balloon() const {
  const auto found = devices_of<VirtioBalloon>();
  return found.empty() ? nullptr : found.front();
}

void Machine::refresh_disks() {
  for (VirtioBlock* disk : devices_of<VirtioBlock>()) disk->refresh_size();
}

std::vector<std::string> Machine::busy_disks() const {
  std::vector<std::string> busy;
  for (const VirtioBlock* disk : devices_of<VirtioBlock>()) {
    const bool flushing = std::ranges::find(flushing_, disk) != flushing_.end();
    if (disk->busy() || flushing) busy.push_back(disk->backend().describe());
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
  on_stopped_ = std::move(done);
  devices_stopping_ = virtio_.size() + 1;
  for (VirtioPci* transport : virtio_) {
    transport->stop([this, transport] {
      auto* const disk = dynamic_cast<VirtioBlock*>(&transport->device());
      disk == nullptr ? device_stopped() : loop_.spawn(flush(*disk));
    });
  }
  device_stopped();  // the machine itself, which may have none
}

// Whatever way a machine ends, its disks are flushed, and none waits for another that hangs.
Task<void> Machine::flush(VirtioBlock& disk) {
  flushing_.push_back(&disk);
  if (const int error = co_await disk.backend().flush(); error != 0) {
    log_error("{}: the last flush failed: {}", disk.backend().describe(), errno_text(error));
    flushed_ = false;
  }
  std::erase(flushing_, &disk);
  device_stopped();
}

void Machine::device_stopped() {
  // Posted: it may destroy the machine, and a task that brought us here with it.
  if (--devices_stopping_ == 0) loop_.post([done = on_stopped_, flushed = flushed_] { done(flushed); });
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

namespace {

std::optional<uint64_t> interrupts_of(const KvmStats& stats) { return stats.sum({"irq_injections"}); }

}  // namespace

std::vector<HangWatch::Sample> Machine::sample_vcpus() {
  std::vector<HangWatch::Sample> samples;
  while_at_rest([&] {
    for (const auto& vcpu : vcpus_) samples.push_back(vcpu->sample());
  });
  for (size_t i = 0; i < samples.size(); ++i) {
    const KvmStats& stats = kvm_stats_[i];
    if (!stats.there()) continue;
    // What KVM of x86 counts, and of ARM.
    const auto accesses =
        stats.sum({"io_exits", "mmio_exits", "hypercalls", "mmio_exit_user", "mmio_exit_kernel", "hvc_exit_stat"});
    samples[i].counts = {.exits = stats.sum({"exits"}).value_or(0),
                         .accesses = accesses.value_or(0),
                         .interrupts = interrupts_of(stats),
                         .wakeups = stats.sum({"halt_wakeup", "halt_successful_poll"}).value_or(0)};
  }
  return samples;
}

HangWatch::Interrupts Machine::interrupts_taken() const {
  HangWatch::Interrupts interrupts;
  for (const KvmStats& stats : kvm_stats_) interrupts.push_back(interrupts_of(stats));
  return interrupts;
}

std::vector<KvmStats::Value> Machine::kvm_counts() const {
  std::vector<KvmStats::Value> sums;
  for (const KvmStats& stats : kvm_stats_) add_counts(sums, stats.counts());
  return sums;
}

bool Machine::kernel_in_place() const {
  const KernelKind kind = backends_.kernel.info().kind;
  return kind == KernelKind::kPvh || kind == KernelKind::kMultiboot;
}

std::string Machine::describe_slot(size_t index) const {
  VirtioPci& transport = *virtio_[index];
  return fmt::format("00:{:02x}.0 {}{}\n", index + 1, transport.device().name(),
                     transport.was_driven() ? ", in use" : ", no driver has taken it up");
}

std::string Machine::describe_pci() const {
  std::string text = "00:00.0 host bridge\n" + board_->pci().host_bridge().describe_configuration();
  for (size_t i = 0; i < virtio_.size(); ++i) text += describe_slot(i) + virtio_[i]->describe_configuration();
  return text;
}

std::string Machine::describe_virtio() const {
  std::string text;
  for (size_t i = 0; i < virtio_.size(); ++i) text += describe_slot(i) + virtio_[i]->describe();
  return text;
}

std::string Machine::describe_interrupts() const {
  std::string text = board_->describe_interrupts(vcpus_);
  for (size_t i = 0; i < virtio_.size(); ++i) text += describe_slot(i) + virtio_[i]->describe_interrupts();
  return text;
}

std::string Machine::describe_memory() const {
  std::string text;
  for (const MapRow& row : memory_map_of(config_)) {
    text += fmt::format("{:#014x}-{:#014x} {}\n", row.start, row.start + row.size - 1, row.what);
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
  for (VirtioPci* transport : virtio_) {
    if (device == transport) return transport->device().name();
  }
  const std::string name = board_->device_name(device);
  return name.empty() ? "unknown" : name;
}

uint64_t Machine::exits() const {
  uint64_t sum = 0;
  for (const auto& vcpu : vcpus_) sum += vcpu->exits();
  return sum;
}

}  // namespace vmm
