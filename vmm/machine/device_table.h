// The table of virtio devices: every kind that a machine may have, one line each.
//
// Adding a device is a line here. The conformance test (tests/unit/machine/device_table_test.cc) walks the table,
// so a new kind is tested for reset, garbage chains and stopping while busy before it has a test of its own.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "devices/virtio/virtio_device.h"
#include "vmm/machine/backends.h"
#include "vmm/machine/config.h"

namespace vmm {

struct DeviceKind {
  std::string_view name;
  std::string_view driver;  // the Linux module that has it
  // What the guest was started for may hang on it: its root, its console, its command.
  bool essential;
  // Whether the configuration asks for any.
  bool (*wanted)(const MachineConfig& config);
  // The devices of this kind that the configuration asks for, in the order in which they are plugged.
  std::vector<std::unique_ptr<VirtioDevice>> (*make)(const MachineConfig& config, const Backends& backends);
};

// In the order in which they take their PCI slots.
std::span<const DeviceKind> device_table();

}  // namespace vmm
