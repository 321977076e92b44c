// ACPI: the tables by which a guest learns what the machine has, ACPI 6.4.
#pragma once

#include "firmware/bytes.h"
#include "firmware/platform.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

// One local APIC id fits in a byte, and 255 addresses all of them (Intel SDM vol. 3 §11.6.1).
inline constexpr unsigned kMaxAcpiCpus = 254;

// Writes RSDP, RSDT, XSDT and all that hangs on them into the ACPI area below 1 MiB, and returns the address of the
// RSDP. Throws Error when the platform cannot be described: too many processors, tables that do not fit, or memory that
// ends below 1 MiB.
GuestAddress write_acpi(const GuestMemory& memory, const Platform& platform);

// The byte code of the DSDT: devices that cannot be found by looking, and how to switch the machine off.
Bytes build_dsdt(const Platform& platform);

}  // namespace vmm
