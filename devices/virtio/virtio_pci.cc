// Registers, lifecycle and interrupts of a virtio device on PCI; see virtio_pci.h.
#include "devices/virtio/virtio_pci.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "devices/register_map.h"
#include "devices/virtio/spec.h"
#include "vmm/core/check.h"
#include "vmm/core/trace.h"

namespace vmm {

namespace {

constexpr uint32_t kBarSize = 0x8000;
constexpr uint64_t kCommon = 0x0000;
constexpr uint64_t kIsr = 0x1000;
constexpr uint64_t kDeviceConfig = 0x2000;
constexpr uint64_t kNotify = 0x3000;
constexpr uint64_t kMsixTableOffset = 0x4000;
constexpr uint64_t kMsixPending = 0x6000;
constexpr uint64_t kSectionSize = 0x1000;
constexpr uint32_t kNotifyMultiplier = 4;

constexpr uint8_t kIsrQueue = 1;
constexpr uint8_t kIsrConfig = 2;

constexpr uint64_t kTransportFeatures =
    feature(VIRTIO_F_VERSION_1) | feature(VIRTIO_RING_F_INDIRECT_DESC) | feature(VIRTIO_RING_F_EVENT_IDX);

PciIdentity identity_of(const VirtioTraits& traits) {
  return {.vendor = 0x1af4,  // §4.1.2
          .device = static_cast<uint16_t>(0x1040 + traits.device_id),
          .subsystem_vendor = 0x1af4,
          .subsystem = 0x1100,
          .class_code = traits.pci_class,
          .revision = 1};
}

// A vendor capability that says where in the BAR a structure lies (§4.1.4). The first two bytes, id and link, are put
// in front by add_capability().
template <typename Capability>
std::span<const std::byte> body_of(const Capability& capability) {
  return std::as_bytes(std::span(&capability, 1)).subspan(2);
}

virtio_pci_cap structure(uint8_t type, uint64_t offset, uint64_t length) {
  return {.cap_len = sizeof(virtio_pci_cap),
          .cfg_type = type,
          .offset = static_cast<uint32_t>(offset),
          .length = static_cast<uint32_t>(length)};
}

uint64_t with_low(uint64_t value, uint64_t low) { return (value & 0xffffffff00000000) | low; }
uint64_t with_high(uint64_t value, uint64_t high) { return (value & 0xffffffff) | high << 32; }

}  // namespace

// Common configuration structure layout (§4.1.4.3).
struct CommonConfig {
  using Owner = VirtioPci;

  static uint64_t device_features(VirtioPci& t) {
    const uint64_t offered = t.offered_features();
    return t.device_feature_select_ > 1 ? 0 : offered >> (32 * t.device_feature_select_) & 0xffffffff;
  }
  static uint64_t driver_features(VirtioPci& t) {
    return t.driver_feature_select_ > 1 ? 0 : t.driver_features_ >> (32 * t.driver_feature_select_) & 0xffffffff;
  }
  static void set_driver_features(VirtioPci& t, uint64_t value) {
    // The set that FEATURES_OK accepted is final (§3.1.1).
    if ((t.status_ & VIRTIO_CONFIG_S_FEATURES_OK) != 0 || t.driver_feature_select_ > 1) return;
    t.driver_features_ =
        t.driver_feature_select_ == 0 ? with_low(t.driver_features_, value) : with_high(t.driver_features_, value);
  }
  static uint16_t known_vector(const VirtioPci& t, uint64_t vector) {
    return vector < t.msix_.size() ? static_cast<uint16_t>(vector) : uint16_t{VIRTIO_MSI_NO_VECTOR};
  }
  // One field of the selected queue: zero when there is no such queue, fixed once the queue is in use.
  template <auto Field>
  static uint64_t queue(VirtioPci& t) {
    const auto* queue = t.selected_queue();
    return queue == nullptr ? 0 : queue->*Field;
  }
  template <auto Field>
  static void set_low(VirtioPci& t, uint64_t value) {
    if (auto* queue = t.configurable_queue()) queue->*Field = with_low(queue->*Field, value);
  }
  template <auto Field>
  static void set_high(VirtioPci& t, uint64_t value) {
    if (auto* queue = t.configurable_queue()) queue->*Field = with_high(queue->*Field, value);
  }
  template <auto Field>
  static uint64_t high(VirtioPci& t) {
    return queue<Field>(t) >> 32;
  }

  using Queue = VirtioPci::Queue;
  static constexpr Register<VirtioPci> kMap[] = {
      {VIRTIO_PCI_COMMON_DFSELECT, 4, [](Owner& t) -> uint64_t { return t.device_feature_select_; },
       [](Owner& t, uint64_t v) { t.device_feature_select_ = static_cast<uint32_t>(v); }},
      {VIRTIO_PCI_COMMON_DF, 4, device_features},
      {VIRTIO_PCI_COMMON_GFSELECT, 4, [](Owner& t) -> uint64_t { return t.driver_feature_select_; },
       [](Owner& t, uint64_t v) { t.driver_feature_select_ = static_cast<uint32_t>(v); }},
      {VIRTIO_PCI_COMMON_GF, 4, driver_features, set_driver_features},
      {VIRTIO_PCI_COMMON_MSIX, 2, [](Owner& t) -> uint64_t { return t.config_vector_; },
       [](Owner& t, uint64_t v) { t.config_vector_ = known_vector(t, v); }},
      {VIRTIO_PCI_COMMON_NUMQ, 2, [](Owner& t) -> uint64_t { return t.queues_.size(); }},
      {VIRTIO_PCI_COMMON_STATUS, 1, [](Owner& t) -> uint64_t { return t.status_; },
       [](Owner& t, uint64_t v) { t.write_status(static_cast<uint8_t>(v)); }},
      {VIRTIO_PCI_COMMON_CFGGENERATION, 1,
       [](Owner& t) -> uint64_t {
         const std::lock_guard lock(t.generation_mutex_);
         return t.config_generation_;
       }},
      {VIRTIO_PCI_COMMON_Q_SELECT, 2, [](Owner& t) -> uint64_t { return t.queue_select_; },
       [](Owner& t, uint64_t v) { t.queue_select_ = static_cast<uint16_t>(v); }},
      {VIRTIO_PCI_COMMON_Q_SIZE, 2, queue<&Queue::size>,
       [](Owner& t, uint64_t v) {
         if (auto* queue = t.configurable_queue()) queue->size = static_cast<uint16_t>(v);
       }},
      {VIRTIO_PCI_COMMON_Q_MSIX, 2,
       [](Owner& t) -> uint64_t {
         const auto* queue = t.selected_queue();
         return queue == nullptr ? VIRTIO_MSI_NO_VECTOR : queue->vector;
       },
       [](Owner& t, uint64_t v) {
         if (auto* queue = t.selected_queue()) queue->vector = known_vector(t, v);
       }},
      {VIRTIO_PCI_COMMON_Q_ENABLE, 2, queue<&Queue::enabled>,
       [](Owner& t, uint64_t v) {
         if (auto* queue = t.configurable_queue(); queue != nullptr && v == 1) queue->enabled = true;
       }},
      {VIRTIO_PCI_COMMON_Q_NOFF, 2,
       [](Owner& t) -> uint64_t { return t.selected_queue() == nullptr ? 0 : t.queue_select_; }},
      {VIRTIO_PCI_COMMON_Q_DESCLO, 4, queue<&Queue::descriptors>, set_low<&Queue::descriptors>},
      {VIRTIO_PCI_COMMON_Q_DESCHI, 4, high<&Queue::descriptors>, set_high<&Queue::descriptors>},
      {VIRTIO_PCI_COMMON_Q_AVAILLO, 4, queue<&Queue::available>, set_low<&Queue::available>},
      {VIRTIO_PCI_COMMON_Q_AVAILHI, 4, high<&Queue::available>, set_high<&Queue::available>},
      {VIRTIO_PCI_COMMON_Q_USEDLO, 4, queue<&Queue::used>, set_low<&Queue::used>},
      {VIRTIO_PCI_COMMON_Q_USEDHI, 4, high<&Queue::used>, set_high<&Queue::used>},
  };
};

VirtioPci::VirtioPci(DeviceHost& host, std::unique_ptr<VirtioDevice> device)
    : PciDevice(identity_of(device->traits()), kBarSize),
      host_(host),
      device_(std::move(device)),
      traits_(device_->traits()),
      msix_(host, traits_.queue_sizes.size() + 1) {
  CHECK(traits_.config_size <= kSectionSize && traits_.queue_sizes.size() < kSectionSize / kNotifyMultiplier);
  for (const uint16_t size : traits_.queue_sizes) queues_.emplace_back(size);

  add_capability(PCI_CAP_ID_VNDR,
                 body_of(structure(VIRTIO_PCI_CAP_COMMON_CFG, kCommon, sizeof(virtio_pci_common_cfg))));
  add_capability(PCI_CAP_ID_VNDR, body_of(structure(VIRTIO_PCI_CAP_ISR_CFG, kIsr, 1)));
  if (traits_.config_size > 0) {
    add_capability(PCI_CAP_ID_VNDR, body_of(structure(VIRTIO_PCI_CAP_DEVICE_CFG, kDeviceConfig, traits_.config_size)));
  }
  virtio_pci_notify_cap notify{.cap = structure(VIRTIO_PCI_CAP_NOTIFY_CFG, kNotify, queues_.size() * kNotifyMultiplier),
                               .notify_off_multiplier = kNotifyMultiplier};
  notify.cap.cap_len = sizeof notify;
  add_capability(PCI_CAP_ID_VNDR, body_of(notify));

  // A window to the BAR from configuration space (§4.1.4.9): the driver sets bar, offset and length, then moves data.
  virtio_pci_cfg_cap window{.cap = structure(VIRTIO_PCI_CAP_PCI_CFG, 0, 0)};
  window.cap.cap_len = sizeof window;
  virtio_pci_cfg_cap window_mask{.cap = {.bar = 0xff, .offset = 0xffffffff, .length = 0xffffffff}};
  std::memset(window_mask.pci_cfg_data, 0xff, sizeof window_mask.pci_cfg_data);
  window_capability_ = add_capability(PCI_CAP_ID_VNDR, body_of(window), body_of(window_mask));

  // PCI Local Bus 3.0 §6.8.2: message control, table and pending-bit offsets, both in BAR 0.
  struct {
    uint16_t control;
    uint32_t table;
    uint32_t pending;
  } __attribute__((packed)) const msix{static_cast<uint16_t>(msix_.size() - 1), kMsixTableOffset, kMsixPending};
  const uint16_t msix_mask = PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL;
  msix_capability_ =
      add_capability(PCI_CAP_ID_MSIX, std::as_bytes(std::span(&msix, 1)), std::as_bytes(std::span(&msix_mask, 1)));

  device_->change_config = [this](const VirtioDevice::Change& change) {
    {
      const std::lock_guard lock(generation_mutex_);
      change();
      ++config_generation_;
    }
    if (active()) interrupt_config();
  };
}

VirtioPci::~VirtioPci() { CHECK(serving_ == 0); }

void VirtioPci::read(uint64_t offset, std::span<std::byte> data) {
  std::fill(data.begin(), data.end(), std::byte{0});
  if (offset < kIsr) {
    const std::lock_guard lock(mutex_);
    read_registers<VirtioPci>(CommonConfig::kMap, *this, offset - kCommon, data);
  } else if (offset == kIsr && !data.empty()) {
    data[0] = std::byte{take_isr()};
  } else if (offset >= kDeviceConfig && offset < kNotify) {
    const uint64_t at = offset - kDeviceConfig;
    if (at < traits_.config_size) {
      const std::lock_guard lock(generation_mutex_);
      device_->read_config(at, data.first(std::min<size_t>(data.size(), traits_.config_size - at)));
    }
  } else if (offset >= kMsixTableOffset && offset < kMsixPending) {
    msix_.read_table(offset - kMsixTableOffset, data);
  } else if (offset >= kMsixPending) {
    msix_.read_pending(offset - kMsixPending, data);
  }
}

void VirtioPci::write(uint64_t offset, std::span<const std::byte> data) {
  if (offset < kIsr) {
    const std::lock_guard lock(mutex_);
    write_registers<VirtioPci>(CommonConfig::kMap, *this, offset - kCommon, data);
  } else if (offset >= kDeviceConfig && offset < kNotify) {
    const uint64_t at = offset - kDeviceConfig;
    if (at < traits_.config_size && data.size() <= traits_.config_size - at) device_->write_config(at, data);
  } else if (offset >= kNotify && offset < kMsixTableOffset) {
    ring_doorbell((offset - kNotify) / kNotifyMultiplier);
  } else if (offset >= kMsixTableOffset && offset < kMsixPending) {
    msix_.write_table(offset - kMsixTableOffset, data);
  }
}

// Only reached while the host watches the doorbell no better way (before start, or when it refused).
void VirtioPci::ring_doorbell(uint64_t queue) {
  if (queue < queues_.size()) queues_[queue].kick.signal();
}

// The data field of the window capability reads the BAR instead of configuration space.
bool VirtioPci::config_read_hook(uint64_t offset, std::span<std::byte> data) {
  const size_t field = window_capability_ + offsetof(virtio_pci_cfg_cap, pci_cfg_data);
  if (offset != field) return false;
  const uint32_t at = config_dword(window_capability_ + VIRTIO_PCI_CAP_OFFSET);
  const uint32_t length = config_dword(window_capability_ + VIRTIO_PCI_CAP_LENGTH);
  if (config_byte(window_capability_ + VIRTIO_PCI_CAP_BAR) != 0 || at >= kBarSize || length != data.size())
    return false;
  read(at, data);
  return true;
}

void VirtioPci::config_written(uint64_t offset, size_t length) {
  if (offset < PCI_COMMAND + 2) set_bus_master((config_dword(PCI_COMMAND) & PCI_COMMAND_MASTER) != 0);
  const size_t control = msix_capability_ + PCI_MSIX_FLAGS;
  if (offset < control + 2 && offset + length > control) {
    const uint32_t flags = config_dword(msix_capability_) >> 16;
    msix_.set_control((flags & PCI_MSIX_FLAGS_ENABLE) != 0, (flags & PCI_MSIX_FLAGS_MASKALL) != 0);
  }
  const size_t field = window_capability_ + offsetof(virtio_pci_cfg_cap, pci_cfg_data);
  if (offset == field) {
    const uint32_t at = config_dword(window_capability_ + VIRTIO_PCI_CAP_OFFSET);
    const uint32_t width = config_dword(window_capability_ + VIRTIO_PCI_CAP_LENGTH);
    const uint32_t value = config_dword(field);
    if (config_byte(window_capability_ + VIRTIO_PCI_CAP_BAR) != 0 || at >= kBarSize || width != length) return;
    if (width > sizeof value) return;  // an 8-byte write through ECAM: the field has 4 (§4.1.4.9)
    write(at, std::as_bytes(std::span(&value, 1)).first(width));
  }
}

VirtioPci::Queue* VirtioPci::selected_queue() {
  return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr;
}

VirtioPci::Queue* VirtioPci::configurable_queue() {
  Queue* queue = selected_queue();
  if (queue == nullptr || queue->enabled || phase_ != Phase::kIdle) return nullptr;
  return queue;
}

uint64_t VirtioPci::offered_features() const {
  return traits_.features | (kTransportFeatures & (traits_.ring_bits | feature(VIRTIO_F_VERSION_1)));
}

bool VirtioPci::features_acceptable() const {
  return (driver_features_ & ~offered_features()) == 0 && (driver_features_ & feature(VIRTIO_F_VERSION_1)) != 0 &&
         device_->accepts(driver_features_);
}

void VirtioPci::write_status(uint8_t value) {
  if (phase_ == Phase::kStopping) return;
  if (value == 0) {
    trace_status(value);
    if (phase_ == Phase::kIdle) {
      reset_registers();
    } else {
      phase_ = Phase::kStopping;
      host_.loop().post([this] { begin_stop(); });
    }
    return;
  }
  const auto appeared = static_cast<uint8_t>(value & ~status_);
  if ((appeared & VIRTIO_CONFIG_S_FEATURES_OK) != 0) {
    if (!features_acceptable()) {
      value &=
          static_cast<uint8_t>(~VIRTIO_CONFIG_S_FEATURES_OK);  // §3.1.1 step 6: the driver sees that it did not stick
    } else if (phase_ == Phase::kIdle) {
      device_->negotiated(driver_features_);
    }
  }
  status_ = value | (status_ & VIRTIO_CONFIG_S_NEEDS_RESET);
  trace_status(status_);
  if ((appeared & VIRTIO_CONFIG_S_DRIVER_OK) != 0 && phase_ == Phase::kIdle) {
    phase_ = Phase::kActive;
    was_driven_ = true;
    host_.loop().post([this] { start(); });
  }
}

void VirtioPci::reset_registers() {
  status_ = 0;
  device_feature_select_ = 0;
  driver_feature_select_ = 0;
  driver_features_ = 0;
  config_vector_ = VIRTIO_MSI_NO_VECTOR;
  queue_select_ = 0;
  for (Queue& queue : queues_) {
    queue.size = queue.max_size;
    queue.vector = VIRTIO_MSI_NO_VECTOR;
    queue.enabled = false;
    queue.descriptors = queue.available = queue.used = 0;
  }
}

// What is under way is waited for by nobody: as on a real bus, a driver that must be sure resets the device itself.
void VirtioPci::set_bus_master(bool on) {
  const std::lock_guard lock(mutex_);
  bus_master_ = on;
  if (on || phase_ != Phase::kActive) return;
  phase_ = Phase::kStopping;
  host_.loop().post([this] { begin_stop(); });
}

void VirtioPci::start() {
  uint64_t features = 0;
  bool bus_master = false;
  {
    const std::lock_guard lock(mutex_);
    bus_master = bus_master_;
    features = driver_features_;
    if ((status_ & VIRTIO_CONFIG_S_FEATURES_OK) == 0) features = 0;
  }
  if ((features & feature(VIRTIO_F_VERSION_1)) == 0) return need_reset("DRIVER_OK was set without FEATURES_OK");

  if (!bus_master) return need_reset("DRIVER_OK was set while the device may not reach memory (PCI's bus master bit)");

  std::vector<size_t> enabled;
  for (size_t i = 0; i < queues_.size(); ++i) {
    Queue& queue = queues_[i];
    if (!queue.enabled) continue;  // fixed since phase_ left kIdle
    const VirtqueueConfig config{.size = queue.size,
                                 .descriptors = {queue.descriptors},
                                 .available = {queue.available},
                                 .used = {queue.used},
                                 .event_index = (features & feature(VIRTIO_RING_F_EVENT_IDX)) != 0,
                                 .indirect = (features & feature(VIRTIO_RING_F_INDIRECT_DESC)) != 0,
                                 .name = fmt::format("{} queue {}", device_->name(), i)};
    if (queue.size <= queue.max_size) {
      queue.ring = Virtqueue::create(
          host_.memory(), host_.loop(), queue.kick, config, [this, i] { interrupt_queue(i); },
          [this](const char* why) { ring_broken(why); });
    }
    if (!queue.ring) return need_reset(fmt::format("queue {} has no usable ring", i));
    enabled.push_back(i);
  }
  guest_debug(log_limit_, "{}: a driver starts it, with features {:#x} and {} queues", device_->name(), features,
              enabled.size());
  device_->activate(features);
  serving_ = enabled.size();
  for (const size_t i : enabled) {
    host_.loop().spawn(device_->serve(i, *queues_[i].ring), [this] { queue_ended(); });
  }
  update_doorbells();
}

void VirtioPci::begin_stop() {
  if (std::exchange(stopping_, true)) return;
  device_->stopping();
  for (Queue& queue : queues_) {
    if (queue.ring) queue.ring->stop();
  }
  if (serving_ == 0) host_.loop().post([this] { finish_stop(); });
}

// Posted rather than called: the task that ended is still on the stack.
void VirtioPci::queue_ended() {
  if (--serving_ == 0 && stopping_) host_.loop().post([this] { finish_stop(); });
}

void VirtioPci::finish_stop() {
  if (!std::exchange(stopping_, false)) return;
  for (Queue& queue : queues_) {
    queue.ring.reset();
    queue.kick.drain();
  }
  guest_debug(log_limit_, "{}: reset", device_->name());
  device_->reset();
  take_isr();
  {
    const std::lock_guard doorbell_lock(doorbell_mutex_);
    for (Queue& queue : queues_) queue.doorbell.reset();
    const std::lock_guard lock(mutex_);
    reset_registers();
    phase_ = Phase::kIdle;
  }
  for (const auto& done : std::exchange(on_stopped_, {})) done();
}

bool VirtioPci::active() {
  const std::lock_guard lock(mutex_);
  return phase_ == Phase::kActive;
}

bool VirtioPci::was_driven() {
  const std::lock_guard lock(mutex_);
  return was_driven_;
}

// Posted, so that it comes after what vCPUs have posted before.
void VirtioPci::stop(std::function<void()> done) {
  host_.loop().post([this, done = std::move(done)] {
    {
      const std::lock_guard lock(mutex_);
      if (phase_ != Phase::kIdle) {
        phase_ = Phase::kStopping;
        on_stopped_.push_back(done);
      }
    }
    if (on_stopped_.empty()) return done();
    for (Queue& queue : queues_) {
      if (queue.ring) queue.ring->take_available();  // a console's last words among it
    }
    begin_stop();
  });
}

void VirtioPci::ring_broken(const char* why) { need_reset(why); }

void VirtioPci::need_reset(const std::string& why) {
  guest_warn(log_limit_, "{}: the guest's driver made a mistake: {}; the device waits for a reset", device_->name(),
             why);
  {
    const std::lock_guard lock(mutex_);
    status_ |= VIRTIO_CONFIG_S_NEEDS_RESET;
  }
  interrupt_config();  // §2.1.2: required once DRIVER_OK is set
}

void VirtioPci::interrupt_queue(size_t index) {
  if (traced(TraceArea::kVirtio)) trace(TraceArea::kVirtio, "{} queue {}: interrupt", device_->name(), index);
  if (!msix_.enabled()) return raise_isr(kIsrQueue, Wire::kPull);
  uint16_t vector = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!bus_master_) return;  // a message is a write to memory
    vector = queues_[index].vector;
  }
  msix_.trigger(vector);
}

void VirtioPci::interrupt_config() {
  trace(TraceArea::kVirtio, "{}: interrupt, its configuration has changed", device_->name());
  const bool message = msix_.enabled();
  raise_isr(kIsrConfig, message ? Wire::kLeave : Wire::kPull);  // the bit is due with messages too (§4.1.4.5.1)
  if (!message) return;
  uint16_t vector = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!bus_master_) return;
    vector = config_vector_;
  }
  msix_.trigger(vector);
}

void VirtioPci::raise_isr(uint8_t bits, Wire wire) {
  const std::lock_guard lock(isr_mutex_);
  isr_ |= bits;
  if (wire == Wire::kPull) set_intx(true);
}

// Reading the ISR status clears it and releases the wire (§4.1.4.5.1).
uint8_t VirtioPci::take_isr() {
  const std::lock_guard lock(isr_mutex_);
  if (isr_ != 0) set_intx(false);
  return std::exchange(isr_, uint8_t{0});
}

void VirtioPci::bar_moved(std::optional<uint64_t> address) {
  {
    const std::lock_guard lock(doorbell_mutex_);
    bar_address_ = address;
  }
  update_doorbells();
}

void VirtioPci::update_doorbells() {
  const std::lock_guard lock(doorbell_mutex_);
  const bool wanted = bar_address_ && active();
  for (size_t i = 0; i < queues_.size(); ++i) {
    Queue& queue = queues_[i];
    queue.doorbell.reset();
    if (!wanted || !queue.enabled) continue;  // fixed until phase_ is kIdle again
    queue.doorbell = host_.register_doorbell({*bar_address_ + kNotify + i * kNotifyMultiplier}, queue.kick);
  }
}

}  // namespace vmm
