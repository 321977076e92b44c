// bzImage: a compressed Linux kernel with its setup header, started by its 64-bit entry point.
//
// "The Linux/x86 Boot Protocol", Documentation/arch/x86/boot.rst. Parsing is a pure function of the file; loading
// copies the protected-mode part to where it asks to be and makes the zero page.
#pragma once

#include <asm/bootparam.h>

#include <cstdint>

#include "firmware/boot.h"
#include "firmware/boot_setup.h"
#include "firmware/byte_source.h"
#include "firmware/bytes.h"

namespace vmm {

struct BzImage {
  KernelInfo info;
  setup_header header{};
  uint64_t kernel_offset = 0;  // of the protected-mode part in the file
  uint64_t kernel_size = 0;
};

// Whether the file has the "HdrS" of a setup header.
bool is_bzimage(const ByteSource& file);
// Throws Error saying what is wrong with it.
BzImage parse_bzimage(const ByteSource& file);
// The vmlinux in it. Throws Error saying why it cannot be had.
Bytes unpack_payload(const BzImage& kernel, const ByteSource& file);
CpuEntry load_bzimage(const BzImage& kernel, const ByteSource& file, const BootRequest& request);

}  // namespace vmm
