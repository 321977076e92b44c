// The recorder of exits: what it counts, and that a hostile guest cannot make it grow or lose count.
#include "vmm/machine/exit_trace.h"

#include <catch2/catch.hpp>
#include <numeric>

using namespace vmm;

namespace {

struct NoDevice : Device {
  void read(uint64_t, std::span<std::byte>) override {}
  void write(uint64_t, std::span<const std::byte>) override {}
};

uint64_t counted(const ExitTrace& trace) {
  return std::accumulate(trace.rows().begin(), trace.rows().end(), uint64_t{0},
                         [](uint64_t sum, const ExitTrace::Row& row) { return sum + row.count; });
}

uint64_t used_rows(const ExitTrace& trace) {
  return static_cast<uint64_t>(
      std::ranges::count_if(trace.rows(), [](const ExitTrace::Row& row) { return row.count != 0; }));
}

}  // namespace

TEST_CASE("exit trace: exits alike are one row, with their time", "[trace]") {
  const NoDevice serial;
  ExitTrace trace(16);
  const ExitTrace::Key key{.reason = 2, .write = true, .device = &serial, .rip = 0xffffffff81000010};
  trace.record(key, 1000, 1300);
  trace.record(key, 2000, 2100);
  trace.record({.reason = 2, .write = false, .device = &serial, .rip = 0xffffffff81000010}, 3000, 3001);
  REQUIRE(used_rows(trace) == 2);
  const auto events = trace.events();
  REQUIRE(events.size() == 3);
  const ExitTrace::Row& row = trace.rows()[events[0].row];
  CHECK(row.key == key);
  CHECK(row.count == 2);
  CHECK(row.ticks == 400);
  CHECK(events[1].row == events[0].row);
  CHECK(events[1].began == 2000);
  CHECK(events[1].ticks == 100);
  CHECK(events[2].row != events[0].row);
}

TEST_CASE("exit trace: it knows the first exit out of the kernel", "[trace]") {
  ExitTrace trace(4);
  trace.record({.rip = 0x1000}, 10, 11);
  CHECK_FALSE(trace.first_kernel_exit());
  trace.record({.rip = ExitTrace::kKernelMap}, 20, 21);
  trace.record({.rip = ExitTrace::kKernelMap}, 30, 31);
  CHECK(trace.first_kernel_exit() == 20u);
}

TEST_CASE("exit trace: the ring keeps the last exits, the oldest first", "[trace]") {
  ExitTrace trace(4);
  for (uint64_t i = 1; i <= 10; ++i) trace.record({}, i, i);
  const auto events = trace.events();
  REQUIRE(events.size() == 4);
  CHECK(events.front().began == 7);
  CHECK(events.back().began == 10);
  CHECK(trace.exits() == 10);
}

TEST_CASE("exit trace: millions of places to exit from neither grow it nor lose the device", "[trace]") {
  const NoDevice device;
  ExitTrace trace(16);
  constexpr uint64_t kExits = 2'000'000;
  for (uint64_t i = 0; i < kExits; ++i) trace.record({.reason = 6, .device = &device, .rip = i * 16 + 1}, i, i + 1);
  CHECK(trace.rows().size() == ExitTrace::kRest + 1);
  CHECK(counted(trace) == kExits);
  CHECK(trace.rows()[ExitTrace::kRest].count == 0);
  const auto without_place =
      std::ranges::find_if(trace.rows(), [](const auto& row) { return row.count > 0 && row.key.rip == 0; });
  REQUIRE(without_place != trace.rows().end());
  CHECK(without_place->key.device == &device);
  CHECK(without_place->count > kExits / 2);
}

TEST_CASE("exit trace: ports where nothing is, all of them, end up without their number", "[trace]") {
  ExitTrace trace(16);
  for (uint64_t port = 0; port < 65536; ++port) trace.record({.reason = 2, .address = port, .rip = port}, 0, 1);
  CHECK(counted(trace) == 65536);
  CHECK(used_rows(trace) <= ExitTrace::kPlaces + 1);
}

TEST_CASE("exit trace: what fits nowhere is in the row for the rest", "[trace]") {
  ExitTrace trace(16);
  for (uint32_t reason = 0; reason < 100'000; ++reason) trace.record({.reason = reason, .rip = 1}, 0, 1);
  CHECK(counted(trace) == 100'000);
  CHECK(trace.rows()[ExitTrace::kRest].count > 0);
}

TEST_CASE("exit trace: a clock that steps back, and exits that take for ever, do no harm", "[trace]") {
  ExitTrace trace(4);
  trace.record({}, 100, 50);
  trace.record({}, 100, uint64_t{1} << 40);
  const auto events = trace.events();
  CHECK(events[0].ticks == 0);
  CHECK(events[1].ticks == UINT32_MAX);
}

TEST_CASE("exit trace: all vCPUs' rings together have a bound", "[trace]") {
  CHECK(ExitTrace::events_each(0) == ExitTrace::events_each(1));
  CHECK(ExitTrace::events_each(2) * 2 == ExitTrace::events_each(1));
  CHECK(ExitTrace::events_each(254) * 254 <= ExitTrace::events_each(1) * 2);
}
