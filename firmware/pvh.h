// PVH: the "x86/HVM direct boot ABI" of Xen, by which an uncompressed vmlinux is started.
//
// The kernel's ELF note names a 32-bit entry point; EBX points at a start info structure with command line, modules,
// RSDP and memory map (xen/include/public/arch-x86/hvm/start_info.h, docs/misc/pvh.pandoc).
#pragma once

#include "firmware/boot_setup.h"
#include "firmware/segments.h"

namespace vmm {

CpuEntry load_pvh(const SegmentedKernel& kernel, const ByteSource& file, const BootRequest& request);

}  // namespace vmm
