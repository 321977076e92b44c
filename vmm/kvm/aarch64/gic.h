// Gic: the interrupt controller in KVM: a GICv3 with an ITS, to which devices send their messages, or a GICv2 where the
// host has only that. Documentation/virt/kvm/devices/arm-vgic*.rst.
#pragma once

#include <cstdint>
#include <optional>

#include "vmm/core/fd.h"
#include "vmm/core/guest_memory.h"
#include "vmm/kvm/vm.h"

namespace vmm {

class Gic {
 public:
  enum class Version { kV2, kV3 };
  struct Places {
    GuestAddress distributor;
    GuestAddress cpu_interface;   // of a GICv2
    GuestAddress redistributors;  // of a GICv3: kRedistributorSize for each vCPU
    GuestAddress its;             // the same
  };
  static constexpr uint64_t kDistributorSize = 0x10000;
  static constexpr uint64_t kCpuInterfaceSize = 0x2000;
  static constexpr uint64_t kRedistributorSize = 0x20000;
  static constexpr uint64_t kItsSize = 0x20000;
  // Interrupts in all: 16 among CPUs, 16 of each CPU's own, and the rest for devices.
  static constexpr uint32_t kInterrupts = 128;
  static constexpr uint32_t kFirstSpi = 32;

  // What this host can do. Throws Error when it is nothing.
  static Version best(const Vm& vm);
  // After all vCPUs, and before any runs. Throws Error.
  Gic(const Vm& vm, Version version, const Places& places);

 private:
  UniqueFd gic_;
  UniqueFd its_;  // of a GICv3
};

}  // namespace vmm
