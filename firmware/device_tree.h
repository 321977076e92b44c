// The flattened device tree of the aarch64 machine: everything that a kernel finds of it.
//
// Devicetree Specification v0.4; the nodes follow the kernel's bindings (Documentation/devicetree/bindings).
#pragma once

#include "firmware/boot_setup.h"
#include "firmware/bytes.h"
#include "firmware/platform.h"

namespace vmm {

// At most kLargestDeviceTree bytes. `initrd` is empty for none.
Bytes make_device_tree(const Platform& platform, AddressRange initrd);

inline constexpr uint64_t kLargestDeviceTree = 2 << 20;  // booting.rst, "Setup the device tree"

}  // namespace vmm
