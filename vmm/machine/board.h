// Board: what a machine has besides memory, CPUs and virtio devices, by architecture: interrupt controllers, serial
// lines, clock, power button, the place of the PCI bus, and what the firmware tells the kernel of them.
//
// It is made before the vCPUs, on the loop's thread, and destroyed there; what it lends is used from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/backends/char/char_backend.h"
#include "devices/bus.h"
#include "devices/pci/pci_root.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/guest_memory.h"
#include "vmm/kvm/kvm.h"
#include "vmm/kvm/vm.h"
#include "vmm/machine/backends.h"
#include "vmm/machine/config.h"
#include "vmm/machine/kvm_device_host.h"
#include "vmm/machine/outcome.h"
#include "vmm/machine/vcpu_thread.h"

namespace vmm {

class Board {
 public:
  // The rest of the machine, which outlives it.
  struct World {
    EventLoop& loop;
    const MachineConfig& config;
    Backends& backends;
    const Kvm& kvm;
    const Vm& vm;
    KvmDeviceHost& host;
    Bus& ports;
    Bus& memory_bus;
    std::function<void(Outcome)> end;  // any thread
  };
  using Vcpus = std::span<const std::unique_ptr<VcpuThread>>;

  // Throws Error when the host or the configuration does not allow it.
  static std::unique_ptr<Board> make(const World& world);
  virtual ~Board() = default;

  virtual PciRoot& pci() = 0;
  // A new wire for INTA of the device in a slot.
  virtual PciRoot::Wire pci_wire(size_t slot) = 0;

  // Prepares a boot, with all vCPUs there and none started: makes them the CPUs of this machine, loads the kernel and
  // what the firmware tells it, and leaves the first vCPU one step before its first instruction. Throws Error.
  virtual void prepare(const GuestMemory& memory, Vcpus vcpus) = 0;

  // Any thread.
  virtual void press_power_button() = 0;
  // To every vCPU. False where the architecture has none.
  virtual bool send_nmi() = 0;
  // A BREAK, and perhaps a key behind it, on the serial line that talks to `console`, or on the first one for null.
  // False when there is none.
  virtual bool send_break(const CharBackend* console, std::optional<uint8_t> key) = 0;
  // The interrupt controllers, those of the vCPUs included, in lines for a person. While nothing runs.
  virtual std::string describe_interrupts(Vcpus vcpus) = 0;
  // What answers at ports and addresses; empty when it is no device of the board's.
  virtual std::string device_name(const Device* device) = 0;
};

// A stretch of guest-physical addresses that a person may want to know.
struct MapRow {
  uint64_t start = 0;
  uint64_t size = 0;
  std::string_view what;
};

// Where `bytes` of RAM lie.
std::vector<GuestMemory::Range> memory_ranges(uint64_t bytes);
// All of the machine's addresses, ascending.
std::vector<MapRow> memory_map_of(const MachineConfig& config);

}  // namespace vmm
