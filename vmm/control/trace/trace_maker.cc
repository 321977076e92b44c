// Naming and merging; see trace_maker.h.
#include "vmm/control/trace/trace_maker.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>
#include <vector>

#include "vmm/kvm/kvm_header.h"

namespace vmm {

namespace {

constexpr std::string_view kRest = "others, for which there was no room";

// `whole`: the row is one of those with address and instruction.
std::string device_name(const ExitTrace::Key& key, bool whole, const TraceNames& names) {
  if (key.device != nullptr) return names.device(key.device);
  if (key.reason != KVM_EXIT_IO && key.reason != KVM_EXIT_MMIO) return "none";
  const char* space = key.reason == KVM_EXIT_IO ? "port" : "address";
  if (!whole) return fmt::format("a {} with nothing there", space);
  return fmt::format("{} {:#x} (nothing there)", space, key.address);
}

std::string symbol_name(uint64_t rip, const TraceNames& names) {
  constexpr uint64_t kModules = 0xffffffffc0000000;  // MODULES_VADDR
  constexpr uint64_t kUpperHalf = 0xffff800000000000;
  if (rip == 0) return "unknown";  // a KVM without KVM_CAP_SYNC_REGS
  if (rip < kUpperHalf) return "user space, or before the kernel";
  std::string symbol = rip < ExitTrace::kKernelMap ? std::string() : names.symbol(rip);
  if (!symbol.empty()) return symbol;
  return rip >= kModules ? "a kernel module" : "kernel code without a symbol";
}

}  // namespace

TraceClock::TraceClock(Clock::time_point start, const Moment& first, const Moment& second)
    : first_(first), start_to_first_(std::chrono::duration<double, std::nano>(first.time - start).count()) {
  const double time = std::chrono::duration<double, std::nano>(second.time - first.time).count();
  per_tick_ = second.ticks > first.ticks ? time / static_cast<double>(second.ticks - first.ticks) : 0;
}

double TraceClock::nanoseconds(uint64_t ticks) const { return static_cast<double>(ticks) * per_tick_; }

double TraceClock::at(uint64_t ticks) const {
  const double later = ticks >= first_.ticks ? nanoseconds(ticks - first_.ticks) : -nanoseconds(first_.ticks - ticks);
  return std::max(start_to_first_ + later, 0.0);
}

void add_exits(RunTrace& trace, std::span<const ExitTrace* const> vcpus, const TraceClock& clock,
               const TraceNames& names) {
  std::map<std::tuple<std::string, std::string, std::string>, size_t> places;
  std::vector<std::vector<size_t>> row_of(vcpus.size());
  std::map<uint64_t, std::string> symbols;
  const auto round = [](double nanoseconds) { return static_cast<uint64_t>(std::llround(nanoseconds)); };
  for (size_t cpu = 0; cpu < vcpus.size(); ++cpu) {
    const std::span<const ExitTrace::Row> rows = vcpus[cpu]->rows();
    row_of[cpu].resize(rows.size());
    uint64_t nanoseconds = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      const ExitTrace::Row& row = rows[i];
      if (row.count == 0) continue;
      const bool whole = i < ExitTrace::kPlaces, rest = i == ExitTrace::kRest;
      const auto [symbol, first] = symbols.try_emplace(row.key.rip);
      if (first) symbol->second = symbol_name(row.key.rip, names);
      std::tuple key{rest ? std::string(kRest) : exit_name(row.key.reason, row.key.write),
                     rest ? std::string(kRest) : device_name(row.key, whole, names),
                     whole ? symbol->second : std::string(kRest)};
      const auto [place, is_new] = places.try_emplace(key, trace.rows.size());
      if (is_new) {
        trace.rows.push_back({.reason = std::get<0>(key), .device = std::get<1>(key), .symbol = std::get<2>(key)});
      }
      row_of[cpu][i] = place->second;
      const uint64_t took = round(clock.nanoseconds(row.ticks));
      trace.rows[place->second].count += row.count;
      trace.rows[place->second].nanoseconds += took;
      nanoseconds += took;
    }
    trace.cpus.push_back({.id = static_cast<uint32_t>(cpu), .exits = vcpus[cpu]->exits(), .nanoseconds = nanoseconds});
  }

  // The order of the rows, and where each one comes to be in it.
  std::vector<size_t> order(trace.rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](size_t row) { return trace.rows[row].nanoseconds; });
  std::vector<RunTrace::Row> sorted;
  std::vector<uint32_t> place(order.size());
  for (const size_t row : order) {
    place[row] = static_cast<uint32_t>(sorted.size());
    sorted.push_back(std::move(trace.rows[row]));
  }
  trace.rows = std::move(sorted);

  for (size_t cpu = 0; cpu < vcpus.size(); ++cpu) {
    const std::vector<ExitTrace::Event> events = vcpus[cpu]->events();
    trace.events_lost += vcpus[cpu]->exits() - events.size();
    for (const ExitTrace::Event& event : events) {
      trace.events.push_back({.start = round(clock.at(event.began)),
                              .nanoseconds = round(clock.nanoseconds(event.ticks)),
                              .vcpu = static_cast<uint32_t>(cpu),
                              .row = place[row_of[cpu][event.row]]});
    }
  }
}

}  // namespace vmm
