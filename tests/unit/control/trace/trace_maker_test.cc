// Records of vCPUs made into a trace: merged, named and timed.
#include "vmm/control/trace/trace_maker.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <vector>

#include "vmm/kvm/kvm_header.h"

using namespace vmm;
using namespace std::chrono_literals;

namespace {

struct NoDevice : Device {
  void read(uint64_t, std::span<std::byte>) override {}
  void write(uint64_t, std::span<const std::byte>) override {}
};

constexpr uint64_t kCode = 0xffffffff81000000;
const TraceClock::Clock::time_point kStart{10s};
// Two ticks a nanosecond.
const TraceClock kClock(kStart, {kStart + 1us, 5000}, {kStart + 2us, 7000});

const TraceNames kNames{.device = [](const Device*) { return "disk"; },
                        .symbol = [](uint64_t rip) { return rip == kCode + 5 ? "" : "function"; }};

RunTrace made_of(const std::vector<const ExitTrace*>& vcpus) {
  RunTrace trace;
  add_exits(trace, vcpus, kClock, kNames);
  return trace;
}

}  // namespace

TEST_CASE("trace maker: ticks become nanoseconds since the start", "[trace]") {
  CHECK(kClock.nanoseconds(2000) == Approx(1000));
  CHECK(kClock.at(5000) == Approx(1000));
  CHECK(kClock.at(9000) == Approx(3000));
  CHECK(kClock.at(4000) == Approx(500));
  CHECK(kClock.at(0) == 0);
  const TraceClock still(kStart, {kStart, 5}, {kStart, 5});
  CHECK(still.nanoseconds(100) == 0);
}

TEST_CASE("trace maker: exits out of one function are one row, whichever vCPU and instruction", "[trace]") {
  const NoDevice disk;
  ExitTrace first(8), second(8);
  first.record({.reason = KVM_EXIT_MMIO, .write = true, .device = &disk, .rip = kCode}, 6000, 6200);
  first.record({.reason = KVM_EXIT_MMIO, .write = true, .device = &disk, .rip = kCode + 1}, 7000, 7200);
  second.record({.reason = KVM_EXIT_MMIO, .write = true, .device = &disk, .rip = kCode}, 8000, 8400);
  const RunTrace trace = made_of({&first, &second});
  REQUIRE(trace.rows.size() == 1);
  CHECK(trace.rows[0].reason == "memory write");
  CHECK(trace.rows[0].device == "disk");
  CHECK(trace.rows[0].symbol == "function");
  CHECK(trace.rows[0].count == 3);
  CHECK(trace.rows[0].nanoseconds == 400);
  REQUIRE(trace.cpus.size() == 2);
  CHECK(trace.cpus[0].exits == 2);
  CHECK(trace.cpus[1].nanoseconds == 200);
  REQUIRE(trace.events.size() == 3);
  CHECK(trace.events[0].start == 1500);
  CHECK(trace.events[2].vcpu == 1);
  CHECK(trace.events_lost == 0);
}

TEST_CASE("trace maker: rows are sorted by time, and events find theirs", "[trace]") {
  ExitTrace vcpu(2);
  vcpu.record({.reason = KVM_EXIT_IO, .address = 0x80, .rip = kCode}, 5000, 5002);
  vcpu.record({.reason = KVM_EXIT_IO, .write = true, .address = 0x80, .rip = kCode}, 6000, 6200);
  vcpu.record({.reason = KVM_EXIT_SHUTDOWN, .rip = 0x1000}, 7000, 7100);
  const RunTrace trace = made_of({&vcpu});
  REQUIRE(trace.rows.size() == 3);
  CHECK(trace.rows[0].reason == "port write");
  CHECK(trace.rows[0].device == "port 0x80 (nothing there)");
  CHECK(trace.rows[1].reason == "shutdown");
  CHECK(trace.rows[1].device == "none");
  CHECK(trace.rows[1].symbol == "user space, or before the kernel");
  REQUIRE(trace.events.size() == 2);
  CHECK(trace.events[0].row == 0);
  CHECK(trace.events[1].row == 1);
  CHECK(trace.events_lost == 1);
}

TEST_CASE("trace maker: code that has no symbol says what it is", "[trace]") {
  ExitTrace vcpu(8);
  vcpu.record({.reason = KVM_EXIT_INTR, .rip = kCode + 5}, 0, 2);
  vcpu.record({.reason = KVM_EXIT_INTR, .rip = 0}, 0, 20);
  const RunTrace trace = made_of({&vcpu});
  CHECK(trace.rows[0].symbol == "unknown");
  CHECK(trace.rows[1].symbol == "kernel code without a symbol");
}

TEST_CASE("trace maker: what the table had no room for is still counted", "[trace]") {
  ExitTrace vcpu(4);
  for (uint64_t port = 0; port < 65536; ++port) {
    vcpu.record({.reason = KVM_EXIT_IO, .address = port, .rip = kCode + port}, 0, 1);
  }
  for (uint32_t reason = 100; reason < 1000; ++reason) vcpu.record({.reason = reason, .rip = reason}, 0, 1);
  const RunTrace trace = made_of({&vcpu});
  CHECK(trace.exits() == 65536 + 900);
  const auto devices = sum_by(trace, &RunTrace::Row::device);
  const auto named = [&](std::string_view name) {
    return std::ranges::find(devices, name, &TraceSum::name) != devices.end();
  };
  CHECK(named("a port with nothing there"));
}
