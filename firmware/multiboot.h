// Multiboot 1, the protocol of GRUB legacy, by which small kernels and test suites are started.
//
// A header within the first 8 KiB says what the kernel wants ("Multiboot Specification version 0.6.96", §3.1). Where
// its parts go is told by ELF program headers, or by address fields in the header itself ("a.out kludge").
#pragma once

#include <cstdint>
#include <optional>

#include "firmware/boot_setup.h"
#include "firmware/byte_source.h"
#include "firmware/segments.h"

namespace vmm {

struct MultibootHeader {  // §3.1.1; the last five count when has_addresses()
  uint32_t magic, flags, checksum;
  uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;

  bool has_addresses() const { return (flags & (1u << 16)) != 0; }
};

struct FoundMultibootHeader {
  MultibootHeader header;
  uint64_t offset;  // in the file
};
std::optional<FoundMultibootHeader> find_multiboot_header(const ByteSource& file);

// Whether there is a header of version 2, of which nothing more is known here ("Multiboot2 Specification version 2.0",
// §3.1).
bool has_multiboot2_header(const ByteSource& file);

// What the header says by itself: kind, warnings, and (with address fields) the one segment and the entry point.
// Throws Error when it demands what we do not have.
SegmentedKernel parse_multiboot(const FoundMultibootHeader& found, const ByteSource& file);

CpuEntry load_multiboot(const SegmentedKernel& kernel, const ByteSource& file, const BootRequest& request);

}  // namespace vmm
