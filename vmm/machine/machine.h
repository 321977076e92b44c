// Machine: one virtual machine from power-on to its end: memory, vCPUs, buses, a board and virtio devices.
//
// It is built from a MachineConfig over Backends, and lives for one boot: a reset is a new Machine. The constructor
// leaves the guest one step before its first instruction. Everything but the vCPUs' register accesses happens on the
// loop, on whose thread all calls are made.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "devices/bus.h"
#include "devices/virtio/balloon.h"
#include "devices/virtio/block.h"
#include "devices/virtio/virtio_pci.h"
#include "vmm/blackbox/cpu_state.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/guest_memory.h"
#include "vmm/kvm/kvm.h"
#include "vmm/kvm/stats.h"
#include "vmm/kvm/vm.h"
#include "vmm/machine/backends.h"
#include "vmm/machine/board.h"
#include "vmm/machine/config.h"
#include "vmm/machine/hang_watch.h"
#include "vmm/machine/kvm_device_host.h"
#include "vmm/machine/outcome.h"
#include "vmm/machine/vcpu_thread.h"

namespace vmm {

class Machine {
 public:
  // `on_end` is called once, on the loop, when the guest has ended by itself; its vCPUs do not run any more then.
  // Throws Error when the host cannot do what the configuration says. All arguments outlive the machine.
  Machine(EventLoop& loop, const MachineConfig& config, Backends& backends, std::function<void(Outcome)> on_end);
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;
  ~Machine();

  // Starts the vCPUs' threads; the guest is paused. Throws Error.
  void start();
  void pause();
  void resume();  // must not be called after the end
  bool paused() const { return paused_; }
  bool ended() const { return ended_; }  // by itself, or by stop()

  void press_power_button() { board_->press_power_button(); }
  bool send_nmi() { return board_->send_nmi(); }  // false where the architecture has none
  // A BREAK, and perhaps a key, on the serial line that talks to `console`; false when no serial line does.
  bool send_break(const CharBackend& console, std::optional<uint8_t> key = {}) {
    return board_->send_break(&console, key);
  }
  // A BREAK and a key on the first serial line, which Linux takes for a magic SysRq; false when there is none.
  bool send_sysrq(char key) { return board_->send_break(nullptr, static_cast<uint8_t>(key)); }
  void set_window_size(uint16_t columns, uint16_t rows);
  VirtioBalloon* balloon() const;  // nullptr where the configuration wants none
  // Looks whether disks have another size now, and tells the guest.
  void refresh_disks();
  // Descriptions of the disks to which requests, or the last flush, are under way.
  std::vector<std::string> busy_disks() const;
  // Whether a driver of the guest has ever taken up any disk.
  bool disks_were_driven() const;

  // Stops the vCPUs for good, quiesces all devices and flushes each disk once its own device is quiet, then calls
  // `done`, with false when something that was written may be lost. The machine may be destroyed after that, and not
  // before: the kernel may still read and write its memory.
  void stop(std::function<void(bool flushed)> done);

  // Shows memory and the vCPUs' registers while nothing runs: a running machine stands still for that long.
  void look_inside(const std::function<void(const GuestMemory&, std::span<const CpuState>)>& look);
  // What a HangWatch wants to know of each vCPU. They stand still as well.
  std::vector<HangWatch::Sample> sample_vcpus();
  // Interrupts that the vCPUs have taken, counted while they run on.
  HangWatch::Interrupts interrupts_taken() const;

  uint64_t exits() const;  // of all vCPUs to this process so far
  // What KVM counts, of all vCPUs together; empty where the host does not tell.
  std::vector<KvmStats::Value> kvm_counts() const;
  // The exit trace of each vCPU, to be read at rest; empty where the configuration wants none.
  std::vector<const ExitTrace*> traces() const;
  // The name under which a trace shows a device that answers at ports and addresses.
  std::string device_name(const Device* device);

  // The debugger's door, down to describe_memory(). `on_event` is called on the loop when a vCPU has met what a
  // VcpuThread::DebugOrder asked for: the machine is paused then.
  void set_on_debug_event(std::function<void()> on_event) { on_debug_event_ = std::move(on_event); }
  void wait_at_rest() const;                                                     // after pause(), or the end
  std::span<const std::unique_ptr<VcpuThread>> vcpus() const { return vcpus_; }  // to be touched at rest
  const GuestMemory& memory() const { return memory_; }
  bool kernel_in_place() const;  // false for a kernel that unpacks or moves itself
  // Reports a debug event when a vCPU begins to run a kernel that has unpacked itself. False when the host cannot tell.
  bool watch_for_kernel(bool on) const { return vmm::watch_for_kernel(vm_, on); }
  // Each device on the PCI bus: its slot, what it is, and what its configuration space says.
  std::string describe_pci() const;
  // Each virtio device, with what it and its driver have agreed on, and with its queues. At rest.
  std::string describe_virtio() const;
  // The interrupt controllers, and the messages of each device. At rest.
  std::string describe_interrupts() const;
  // RAM and what else has addresses.
  std::string describe_memory() const;

 private:
  void plug_virtio_devices();
  void create_vcpus();
  std::string describe_slot(size_t index) const;
  template <typename Kind>
  std::vector<Kind*> devices_of() const;

  void end(Outcome outcome);  // any thread
  void stop_for_debugger();   // any thread
  void while_at_rest(const std::function<void()>& look);
  Task<void> flush(VirtioBlock& disk);
  void device_stopped();

  EventLoop& loop_;
  const MachineConfig& config_;
  Backends& backends_;
  std::function<void(Outcome)> on_end_;

  Kvm kvm_;
  GuestMemory memory_;
  Vm vm_;
  KvmDeviceHost host_;
  Bus ports_;
  Bus memory_bus_;
  std::unique_ptr<Board> board_;
  std::vector<VirtioPci*> virtio_;  // owned by the board's PCI bus
  std::vector<std::unique_ptr<VcpuThread>> vcpus_;
  std::vector<KvmStats> kvm_stats_;  // of each vCPU; opened before it runs, or KVM would have us wait for it
  std::function<void()> on_debug_event_;

  bool paused_ = true;
  // Held while all vCPUs are told the same: what the end says is not overruled by a resume() that began before it.
  std::mutex run_mutex_;
  std::atomic<bool> ended_{false};
  // State of stop().
  std::function<void(bool)> on_stopped_;
  size_t devices_stopping_ = 0;
  std::vector<const VirtioBlock*> flushing_;
  bool flushed_ = true;
  // Callbacks queued in the loop may outlive the machine: they hold this weakly.
  std::shared_ptr<Machine*> self_;
};

}  // namespace vmm
