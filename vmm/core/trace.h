// Trace lines: what a machine does while it does it, a log line each, of the areas that --trace names. Like all log
// lines they never wait for their reader; those that a slow one has missed are counted. No LogLimit holds any back: who
// names an area wants all that the guest does there. With no area named they cost a look at a flag.
#pragma once

#include <fmt/core.h>

#include <atomic>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace vmm {

enum class TraceArea : unsigned {
  kKvm,     // exits to this process
  kMmio,    // accesses to device memory
  kPio,     // accesses to ports
  kVirtio,  // status, buffers and interrupts of virtio devices
};

// "kvm,pio". Nothing when not one of the words is an area's name; throws Error when only some are.
std::optional<std::vector<TraceArea>> parse_trace_areas(std::string_view words);

// Sets an area for the rest of the process. Thread safe.
void set_traced(TraceArea area, bool on);

namespace internal {
inline std::atomic<unsigned> traced_areas{0};
}

inline bool traced(TraceArea area) {
  return (internal::traced_areas.load(std::memory_order_relaxed) >> static_cast<unsigned>(area) & 1) != 0;
}

// "vmm: pio: LINE"
void trace_line(TraceArea area, std::string_view line);

template <typename... Args>
void trace(TraceArea area, fmt::format_string<Args...> format, Args&&... args) {
  if (traced(area)) trace_line(area, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace vmm
