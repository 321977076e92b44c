// Image: a Linux kernel for 64-bit ARM: as it is, compressed with gzip, or in an EFI program that unpacks it (zboot).
//
// "Booting AArch64 Linux", Documentation/arch/arm64/booting.rst, has the header and what a kernel expects; zboot's
// header is drivers/firmware/efi/libstub/zboot-header.S.
#pragma once

#include <cstdint>

#include "firmware/boot.h"
#include "firmware/boot_setup.h"
#include "firmware/byte_source.h"
#include "firmware/bytes.h"
#include "firmware/kernel_payload.h"

namespace vmm {

struct Arm64Image {
  KernelInfo info;
  Bytes unpacked;            // the Image, where the file is a compressed one; else empty
  uint64_t size = 0;         // in the file, or unpacked
  uint64_t text_offset = 0;  // from a boundary of 2 MiB
  uint64_t image_size = 0;   // memory that it takes from there on
  unsigned page_size = 0;    // KiB; 0: not told
};

// Judged by the first bytes alone: a compressed file may turn out to be something else.
bool may_be_arm64_image(const ByteSource& file);
// Throws Error saying what is wrong with it.
Arm64Image parse_arm64_image(const ByteSource& file);
KernelFacts facts_of_arm64_image(const Arm64Image& image, const ByteSource& file);

// From the start of RAM: the kernel, the device tree on the next 2 MiB, and the initrd behind. Throws Error.
Aarch64Entry load_arm64_image(const Arm64Image& image, const ByteSource& file, const BootRequest& request);

}  // namespace vmm
