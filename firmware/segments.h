// SegmentedKernel: a kernel that is loaded piece by piece to given addresses, and entered in 32-bit protected mode.
#pragma once

#include <cstdint>
#include <vector>

#include "firmware/boot.h"
#include "firmware/boot_setup.h"
#include "firmware/byte_source.h"

namespace vmm {

struct Segment {
  uint64_t file_offset = 0;
  uint64_t file_size = 0;
  uint64_t address = 0;
  uint64_t memory_size = 0;  // at least file_size; the rest is zero
};

struct SegmentedKernel {
  KernelInfo info;
  std::vector<Segment> segments;  // ascending, checked by check_segments()
};

// Sorts the segments. Throws Error when one reaches beyond the file or 4 GiB, covers any of our own boot
// structures below 1 MiB, or overlaps another, or when none holds the entry point.
void check_segments(SegmentedKernel& kernel, const ByteSource& file);

// Copies them in; returns the range from the first to the last. Throws Error when the guest has no RAM there.
AddressRange load_segments(const SegmentedKernel& kernel, const ByteSource& file, const BootRequest& request);

}  // namespace vmm
