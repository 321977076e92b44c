// SMBIOS: product, serial number and memory, for dmidecode and for drivers that look for a product's quirks.
#pragma once

#include "firmware/platform.h"
#include "vmm/core/guest_memory.h"

namespace vmm {

// Writes both entry points and the structures into the SMBIOS area below 1 MiB. Throws Error when they do not fit.
void write_smbios(const GuestMemory& memory, const Platform& platform);

}  // namespace vmm
