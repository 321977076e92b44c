// VirtioPci: the PCI transport of a virtio device, modern only. Virtio 1.2 §4.1.
//
// One BAR carries everything:
//
//   0x0000  common configuration      0x3000  notification, 4 bytes a queue
//   0x1000  ISR status                0x4000  MSI-X table
//   0x2000  device configuration      0x6000  MSI-X pending bits
//
// vCPU threads only touch registers here. Setting DRIVER_OK posts "start the queues" to the loop; writing 0 to the
// status posts "stop them", and the status goes on showing its old value until every queue has come to rest, which a
// driver must wait for (§4.1.4.3.1). After that no byte of guest memory is written. So no vCPU ever waits for the loop.
//
// Taking the device's access to memory away (PCI's bus master bit) is a reset as well: so does a kernel that starts
// another one by kexec.
//
// A ring that cannot be trusted latches DEVICE_NEEDS_RESET (§2.1.1) and stops this device alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "devices/device_host.h"
#include "devices/pci/msix.h"
#include "devices/pci/pci_device.h"
#include "devices/virtio/virtio_device.h"
#include "devices/virtio/virtqueue.h"
#include "vmm/core/log.h"

namespace vmm {

class VirtioPci : public PciDevice {
 public:
  VirtioPci(DeviceHost& host, std::unique_ptr<VirtioDevice> device);
  ~VirtioPci() override;

  VirtioDevice& device() { return *device_; }
  // Whether a driver has ever set DRIVER_OK; stop() and resets do not change that. Any thread.
  bool was_driven();
  // Status, features and queues, and where its interrupts go, a line each: for a person, while the guest stands still.
  std::string describe();
  std::string describe_interrupts() const;

  // Quiesces the device, on the loop: stops all queues and calls `done` when nothing is in flight any more.
  void stop(std::function<void()> done);

  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;
  void placed(uint16_t requester) override { msix_.set_requester(requester); }

 protected:
  bool config_read_hook(uint64_t offset, std::span<std::byte> data) override;
  void config_written(uint64_t offset, size_t length) override;
  void bar_moved(std::optional<uint64_t> address) override;

 private:
  friend struct CommonConfig;  // the register table in virtio_pci.cc

  enum class Phase { kIdle, kActive, kStopping };

  struct Queue {
    explicit Queue(uint16_t largest) : max_size(largest), size(largest) {}
    // What the driver wrote; under mutex_.
    const uint16_t max_size;
    uint16_t size;
    uint16_t vector = 0xffff;
    bool enabled = false;
    uint64_t descriptors = 0;
    uint64_t available = 0;
    uint64_t used = 0;
    // Under doorbell_mutex_.
    std::unique_ptr<DoorbellRegistration> doorbell;
    EventFd kick;
    // On the loop only.
    std::unique_ptr<Virtqueue> ring;
  };

  bool active();
  Queue* selected_queue();      // null when queue_select names none
  Queue* configurable_queue();  // the same, but null as well once the driver may no longer change queues (§4.1.4.3.2)
  void write_status(uint8_t value);
  void trace_status(uint8_t value) const;
  uint64_t offered_features() const;
  bool features_acceptable() const;
  void reset_registers();
  void set_bus_master(bool on);

  void start();
  void begin_stop();
  void queue_ended();
  void finish_stop();
  void ring_broken(const char* why);
  void need_reset(const std::string& why);

  void interrupt_queue(size_t index);
  void interrupt_config();
  enum class Wire { kLeave, kPull };
  void raise_isr(uint8_t bits, Wire wire);
  uint8_t take_isr();
  void update_doorbells();
  void ring_doorbell(uint64_t queue);

  DeviceHost& host_;
  std::unique_ptr<VirtioDevice> device_;
  const VirtioTraits traits_;
  MsixTable msix_;
  uint8_t msix_capability_ = 0;
  uint8_t window_capability_ = 0;  // VIRTIO_PCI_CAP_PCI_CFG
  LogLimit log_limit_;

  std::mutex mutex_;
  uint8_t status_ = 0;
  Phase phase_ = Phase::kIdle;
  bool was_driven_ = false;
  bool bus_master_ = true;  // as plug() leaves it: the device may reach memory, and send messages
  uint32_t device_feature_select_ = 0;
  uint32_t driver_feature_select_ = 0;
  uint64_t driver_features_ = 0;
  uint16_t config_vector_ = 0xffff;
  uint16_t queue_select_ = 0;
  std::vector<Queue> queues_;

  // Held over the host's slow work for many doorbells, which registers and interrupts must not wait for. Around mutex_,
  // never inside it; phase_ becomes kIdle only under both.
  std::mutex doorbell_mutex_;
  std::optional<uint64_t> bar_address_;

  // Held over changes and reads of the device's configuration, and of its generation. Inside mutex_, never around it.
  std::mutex generation_mutex_;
  uint8_t config_generation_ = 0;
  // Taken after mutex_ has been released; held while the wire is moved, so that wire and status agree.
  std::mutex isr_mutex_;
  uint8_t isr_ = 0;

  // On the loop only.
  size_t serving_ = 0;
  bool stopping_ = false;
  std::vector<std::function<void()>> on_stopped_;
};

}  // namespace vmm
