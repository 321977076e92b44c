// The words of --trace; see trace.h.
#include "vmm/core/trace.h"

#include <algorithm>
#include <array>

#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

namespace {

constexpr std::array<std::pair<std::string_view, TraceArea>, 4> kNames{{
    {"kvm", TraceArea::kKvm},
    {"mmio", TraceArea::kMmio},
    {"pio", TraceArea::kPio},
    {"virtio", TraceArea::kVirtio},
}};

}  // namespace

std::optional<std::vector<TraceArea>> parse_trace_areas(std::string_view words) {
  std::vector<TraceArea> areas;
  std::optional<std::string_view> unknown;
  for (bool more = true; more;) {
    const size_t comma = words.find(',');
    const std::string_view word = words.substr(0, comma);
    const auto* const found = std::ranges::find(kNames, word, &decltype(kNames)::value_type::first);
    if (found != kNames.end()) {
      areas.push_back(found->second);
    } else {
      unknown = word;
    }
    more = comma != words.npos;
    if (more) words.remove_prefix(comma + 1);
  }
  if (areas.empty()) return std::nullopt;
  if (unknown)
    throw Error(fmt::format("--trace: '{}' is none of kvm, mmio, pio and virtio", *unknown), "--trace kvm,pio");
  return areas;
}

void set_traced(TraceArea area, bool on) {
  const unsigned bit = 1U << static_cast<unsigned>(area);
  on ? internal::traced_areas.fetch_or(bit) : internal::traced_areas.fetch_and(~bit);
}

void trace_line(TraceArea area, std::string_view line) {
  const auto* const name = std::ranges::find(kNames, area, &decltype(kNames)::value_type::second);
  log_line(LogLevel::kInfo, fmt::format("{}: {}", name->first, line));
}

}  // namespace vmm
