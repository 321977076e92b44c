// Checks that hold for every segmented kernel, and the copying; see segments.h.
#include "firmware/segments.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>

#include "firmware/layout_x86_64.h"
#include "vmm/core/error.h"

namespace vmm {
namespace {

uint64_t end_of(const Segment& segment) { return segment.address + segment.memory_size; }

// Nothing here can wrap: each sum is formed after its terms were found small.
void check_segment(const Segment& segment, const ByteSource& file) {
  if (segment.file_size > segment.memory_size) {
    throw Error(fmt::format("its segment at {:#x} has more bytes in the file ({:#x}) than in memory ({:#x})",
                            segment.address, segment.file_size, segment.memory_size));
  }
  if (segment.file_offset > file.size() || segment.file_size > file.size() - segment.file_offset) {
    throw Error(fmt::format("its segment at {:#x} lies beyond the end of the file", segment.address),
                "copy or build it again");
  }
  if (segment.address > kFourGiB || segment.memory_size > kFourGiB - segment.address) {
    throw Error(
        fmt::format("its segment at {:#x} ({:#x} bytes) reaches beyond 4 GiB", segment.address, segment.memory_size));
  }
  if (segment.address < kOneMiB && end_of(segment) > kFirmwareStart.value) {
    throw Error(fmt::format("its segment at {:#x} ({:#x} bytes) covers memory between 512 KiB and 1 MiB, where command "
                            "line, page tables and ACPI tables are",
                            segment.address, segment.memory_size),
                "link the kernel to 1 MiB or higher");
  }
}

}  // namespace

void check_segments(SegmentedKernel& kernel, const ByteSource& file) {
  auto& segments = kernel.segments;
  for (const Segment& segment : segments) check_segment(segment, file);
  std::sort(segments.begin(), segments.end(),
            [](const auto& left, const auto& right) { return left.address < right.address; });
  const auto overlap = std::adjacent_find(segments.begin(), segments.end(), [](const auto& left, const auto& right) {
    return right.address < end_of(left);
  });
  if (overlap != segments.end()) throw Error(fmt::format("two segments overlap at {:#x}", std::next(overlap)->address));
  const bool entry_inside = std::any_of(segments.begin(), segments.end(), [&](const Segment& segment) {
    return kernel.info.entry >= segment.address && kernel.info.entry < end_of(segment);
  });
  if (!entry_inside) throw Error(fmt::format("its entry point {:#x} is in none of its segments", kernel.info.entry));
}

AddressRange load_segments(const SegmentedKernel& kernel, const ByteSource& file, const BootRequest& request) {
  const AddressRange range = {kernel.segments.front().address, end_of(kernel.segments.back())};
  require_low_ram(request.platform, range.end, "the kernel");
  for (const Segment& segment : kernel.segments) {
    const auto slice = request.memory.slice(GuestAddress{segment.address}, segment.memory_size);
    if (!slice) throw Error(fmt::format("there is no memory at {:#x} for a segment of the kernel", segment.address));
    file.read_into(segment.file_offset, slice->sub(0, segment.file_size));
    slice->sub(segment.file_size, segment.memory_size - segment.file_size).fill(std::byte{0});
  }
  return range;
}

}  // namespace vmm
