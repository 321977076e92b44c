// What a guest finds of a BIOS: there is none, and it is told so.
//
// Kernels that come by Multiboot or the Linux protocols may still look into the BIOS data area, and some go back to
// real mode to ask (Xen: memory map, disks, video). Every software interrupt answers "function not supported", carry
// flag set and AH 0x86, the way IBM's BIOS answers what it does not know (PS/2 and PC BIOS Interface Technical
// Reference, INT 15h).
#pragma once

#include "vmm/core/guest_memory.h"

namespace vmm {

// Writes the interrupt vectors, their handlers, and where the reserved part of the first MiB begins in the two fields
// of the BIOS data area in which guests have always looked for it: Xen and Linux put trampolines just below. To be
// called before the kernel is loaded, which may be linked to these addresses. Throws Error when there is no memory for
// it.
void write_bios(const GuestMemory& memory);

}  // namespace vmm
