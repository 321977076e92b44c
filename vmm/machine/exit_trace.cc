// A table that never grows; see exit_trace.h.
#include "vmm/machine/exit_trace.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "vmm/kvm/kvm_header.h"

namespace vmm {

namespace {

constexpr size_t kEventsOfAll = 1 << 18;
constexpr size_t kFewestEvents = 1 << 10;
constexpr size_t kProbes = 8;  // a guest may choose addresses whose hashes meet

size_t hash(const ExitTrace::Key& key) {
  constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;  // 2^64 over the golden ratio
  uint64_t mixed = std::hash<const Device*>()(key.device);
  for (const uint64_t part : {key.rip, key.address, uint64_t{key.reason} << 1 | uint64_t{key.write}}) {
    mixed = (mixed ^ part) * kOdd;
  }
  return mixed >> 32;
}

}  // namespace

std::string exit_name(uint32_t reason, bool write) {
  switch (reason) {
    case KVM_EXIT_IO:
      return write ? "port write" : "port read";
    case KVM_EXIT_MMIO:
      return write ? "memory write" : "memory read";
    case KVM_EXIT_INTR:
      return "signal";
    case KVM_EXIT_IRQ_WINDOW_OPEN:
      return "interrupt window";
    case KVM_EXIT_DEBUG:
      return "debug";
    case KVM_EXIT_SHUTDOWN:
      return "shutdown";
    case KVM_EXIT_INTERNAL_ERROR:
      return "internal error";
    case KVM_EXIT_X86_WRMSR:
      return "MSR write";
    default:
      return fmt::format("exit {}", reason);
  }
}

// The ring is not written before it is used, so that pages of it that no exit reaches cost nothing.
ExitTrace::ExitTrace(size_t events)
    : rows_(kRest + 1),
      ring_(std::make_unique_for_overwrite<Event[]>(std::max<size_t>(events, 1))),
      ring_size_(std::max<size_t>(events, 1)) {}

size_t ExitTrace::events_each(unsigned cpus) {
  return std::max(kEventsOfAll / std::max<size_t>(cpus, 1), kFewestEvents);
}

ExitTrace::Row* ExitTrace::find(const Key& key, size_t start, size_t count) {
  const size_t first = hash(key);
  for (size_t probe = 0; probe < kProbes; ++probe) {
    Row& row = rows_[start + (first + probe) % count];
    if (row.count == 0) row.key = key;
    if (row.key == key) return &row;
  }
  return nullptr;
}

void ExitTrace::record(const Key& key, uint64_t began, uint64_t ended) {
  Row* row = find(key, 0, kPlaces);
  if (row == nullptr) {
    row = find({.reason = key.reason, .write = key.write, .device = key.device}, kPlaces, kDevices);
  }
  if (row == nullptr) row = &rows_[kRest];
  // Clocks of different cores may disagree a little, where the host moves the thread.
  const uint64_t ticks = ended > began ? ended - began : 0;
  ++row->count;
  row->ticks += ticks;
  ring_[exits_++ % ring_size_] = {
      .began = began,
      .ticks = static_cast<uint32_t>(std::min<uint64_t>(ticks, std::numeric_limits<uint32_t>::max())),
      .row = static_cast<uint32_t>(row - rows_.data())};
  if (!first_kernel_exit_ && key.rip >= kKernelMap) first_kernel_exit_ = began;
}

std::vector<ExitTrace::Event> ExitTrace::events() const {
  std::vector<Event> events;
  const uint64_t kept = std::min<uint64_t>(exits_, ring_size_);
  events.reserve(kept);
  for (uint64_t number = exits_ - kept; number < exits_; ++number) events.push_back(ring_[number % ring_size_]);
  return events;
}

}  // namespace vmm
