// How a device interrupts the guest: an IrqLine (a wire with a level) or an MsiMessage (a write that the interrupt
// controller understands, sent through DeviceHost::signal_msi()).
#pragma once

#include <cstdint>

namespace vmm {

// A level-triggered wire into the interrupt controller. Several sources may share one input; each holds its own
// IrqLine and the input is high while any of them is. Any thread.
class IrqLine {
 public:
  virtual ~IrqLine() = default;
  virtual void set(bool level) = 0;
};

struct MsiMessage {
  uint64_t address = 0;
  uint32_t data = 0;
  uint16_t requester = 0;  // the sender's PCI bus, device and function, by which some interrupt controllers go
  bool operator==(const MsiMessage&) const = default;
};

}  // namespace vmm
