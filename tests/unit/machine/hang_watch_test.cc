// What is a hang, and what only looks like one.
#include "vmm/machine/hang_watch.h"

#include <catch2/catch.hpp>
#include <functional>

using namespace vmm;
using namespace std::chrono_literals;
using Activity = CpuState::Activity;
using Sample = HangWatch::Sample;

namespace {

constexpr std::chrono::milliseconds kLimit = 10s;

// A guest whose vCPUs are, at each moment, what `guest` says. Says what was found in a minute, and when.
struct Found {
  std::string what;
  std::chrono::milliseconds after{0};
};
Found watch(const std::function<std::vector<Sample>(std::chrono::milliseconds)>& guest) {
  HangWatch watch(kLimit);
  const HangWatch::Clock::time_point start{};
  for (auto now = watch.interval(); now < 60s; now += watch.interval()) {
    if (const auto stuck = watch.look(guest(now), start + now)) return {*stuck, now};
  }
  return {};
}

// Runs with interrupts off all the time, in a loop of `states` different states.
Sample spinning(std::chrono::milliseconds now, uint64_t states = 1) {
  return {.id = 1, .registers = static_cast<uint64_t>(now.count()) / 500 % states, .cpu_time = now};
}
Sample idle() { return {.activity = Activity::kHalted, .interrupts_on = true}; }
Sample dead() { return {.activity = Activity::kHalted}; }
Sample not_started() { return {.id = 2, .activity = Activity::kNotStarted}; }

}  // namespace

TEST_CASE("hang watch: an idle guest is not hung, and is looked at rarely", "[hang]") {
  size_t looks = 0;
  CHECK(watch([&](auto) {
          ++looks;
          return std::vector{idle(), not_started()};
        }).what.empty());
  CHECK(looks <= 12);
}

TEST_CASE("hang watch: a guest whose vCPUs all take interrupts needs no look", "[hang]") {
  HangWatch watch(kLimit);
  CHECK_FALSE(watch.all_take_interrupts({7, 7}));  // since when?
  CHECK(watch.all_take_interrupts({8, 9}));
  CHECK_FALSE(watch.all_take_interrupts({8, 10}));
  CHECK(watch.all_take_interrupts({9, 11}));
  CHECK_FALSE(watch.all_take_interrupts({10, std::nullopt}));
  CHECK_FALSE(watch.all_take_interrupts({11, 12}));
  CHECK(watch.all_take_interrupts({12, 13}));
  watch.forget();
  CHECK_FALSE(watch.all_take_interrupts({13, 14}));
}

TEST_CASE("hang watch: an interrupt in between ends a suspicion", "[hang]") {
  HangWatch watch(kLimit);
  const HangWatch::Clock::time_point start{};
  watch.all_take_interrupts({1});
  CHECK_FALSE(watch.look(std::vector{dead()}, start));
  CHECK(watch.interval() < kLimit / 2);
  CHECK(watch.all_take_interrupts({2}));
  CHECK(watch.interval() == kLimit / 2);
  CHECK_FALSE(watch.look(std::vector{dead()}, start + kLimit));
  CHECK(watch.look(std::vector{dead()}, start + 2 * kLimit));
}

TEST_CASE("hang watch: a vCPU that spins with interrupts off is, whatever the others do", "[hang]") {
  const auto states = GENERATE(as<uint64_t>(), 1, 2, 5);
  const Found found = watch([&](auto now) { return std::vector{idle(), spinning(now, states)}; });
  CHECK(found.what == "vCPU 1 spins with interrupts off");
  CHECK(found.after >= kLimit);
  CHECK(found.after <= 2 * kLimit);
}

TEST_CASE("hang watch: one that spins with interrupts on is its own kernel's affair", "[hang]") {
  CHECK(watch([](auto now) {
          Sample sample = spinning(now);
          sample.interrupts_on = true;
          return std::vector{sample};
        }).what.empty());
}

TEST_CASE("hang watch: one that computes with interrupts off gets on", "[hang]") {
  CHECK(watch([](auto now) { return std::vector{spinning(now, 1'000'000)}; }).what.empty());
}

TEST_CASE("hang watch: one that talks to a device gets on", "[hang]") {
  CHECK(watch([](auto now) {
          Sample sample = spinning(now);
          sample.exits = static_cast<uint64_t>(now / 3s);
          return std::vector{sample};
        }).what.empty());
}

TEST_CASE("hang watch: what KVM answers by itself is getting on as well, but not just any exit", "[hang]") {
  const auto found = [](const std::function<void(HangWatch::Counts&, uint64_t)>& count) {
    return watch([&](auto now) {
             Sample sample = spinning(now);
             sample.counts = HangWatch::Counts{};
             count(*sample.counts, static_cast<uint64_t>(now / 3s));
             return std::vector{sample};
           })
        .what;
  };
  CHECK(found([](auto& counts, uint64_t n) { counts.accesses = n; }).empty());
  CHECK(found([](auto& counts, uint64_t n) { counts.interrupts = n; }).empty());
  CHECK(found([](auto& counts, uint64_t n) { counts.exits = 1000 * n; }) == "vCPU 1 spins with interrupts off");
}

TEST_CASE("hang watch: one that spins while another talks to a device with interrupts off may wait for it", "[hang]") {
  const auto talking = [](uint64_t exits, bool interrupts_on) {
    return Sample{.interrupts_on = interrupts_on, .registers = exits, .exits = exits};
  };
  CHECK(watch([&](auto now) {
          return std::vector{talking(static_cast<uint64_t>(now.count()), false), spinning(now)};
        }).what.empty());
  // One that does so now and then hides no hang.
  CHECK(watch([&](auto now) {
          const bool on = now.count() / 500 % 3 != 0;
          return std::vector{talking(static_cast<uint64_t>(now.count()), on), spinning(now)};
        }).what == "vCPU 1 spins with interrupts off");
}

TEST_CASE("hang watch: that a look wakes a halted vCPU in KVM does not bring it back", "[hang]") {
  CHECK(watch([](auto now) {
          Sample sample = dead();
          sample.counts = {.wakeups = static_cast<uint64_t>(now / 3s)};
          return std::vector{sample};
        }).what == "its vCPU is halted with interrupts off: nothing wakes it");
}

TEST_CASE("hang watch: it tells what each vCPU did in the time that counts", "[hang]") {
  HangWatch watch(kLimit);
  const HangWatch::Clock::time_point start{};
  for (uint64_t second = 0; second <= 30; second += 5) {
    Sample halted = idle(), running{.id = 1, .exits = 100 + second}, on_arm = idle();
    halted.counts = {.exits = 40 * second, .interrupts = 2 * second, .wakeups = second};
    on_arm.id = 3;
    on_arm.counts = {.exits = 3 * second, .wakeups = second};
    watch.look(std::vector{halted, running, not_started(), on_arm}, start + std::chrono::seconds(second));
  }
  CHECK(watch.activity() ==
        "  vCPU 0: halted; 400 exits to KVM, 20 interrupts, 10 wake-ups in 10.0 s\n"
        "  vCPU 1: running; 10 exits to vmm in 10.0 s\n"
        "  vCPU 2: not started; 0 exits to vmm in 10.0 s\n"
        "  vCPU 3: halted; 30 exits to KVM, 10 wake-ups in 10.0 s\n");
  watch.forget();
  CHECK(watch.activity().empty());
}

TEST_CASE("hang watch: one that the host gives no time is not blamed", "[hang]") {
  CHECK(watch([](auto now) {
          Sample sample = spinning(now);
          sample.cpu_time = now / 100;
          return std::vector{sample};
        }).what.empty());
}

TEST_CASE("hang watch: one that comes out of its loop in time starts anew", "[hang]") {
  CHECK(watch([](auto now) { return std::vector{now % 9s < 8s ? spinning(now) : idle()}; }).what.empty());
}

TEST_CASE("hang watch: when all are halted with interrupts off nothing wakes them", "[hang]") {
  const Found found = watch([](auto) { return std::vector{dead(), dead(), not_started()}; });
  CHECK(found.what == "all vCPUs are halted with interrupts off: nothing wakes them");
  CHECK(found.after <= 2 * kLimit);
  CHECK(watch([](auto) { return std::vector{dead()}; }).what ==
        "its vCPU is halted with interrupts off: nothing wakes it");
}

TEST_CASE("hang watch: one that is halted for good, as an unplugged one is, is no hang while another lives", "[hang]") {
  CHECK(watch([](auto) { return std::vector{idle(), dead()}; }).what.empty());
  CHECK(watch([](auto) { return std::vector{not_started()}; }).what.empty());
}

TEST_CASE("hang watch: time in which the guest was paused does not count", "[hang]") {
  HangWatch watch(kLimit);
  const HangWatch::Clock::time_point start{};
  const std::vector samples{dead()};
  CHECK_FALSE(watch.look(samples, start));
  CHECK_FALSE(watch.look(samples, start + 9s));
  watch.forget();
  CHECK_FALSE(watch.look(samples, start + 100s));
  CHECK_FALSE(watch.look(samples, start + 109s));
  CHECK(watch.look(samples, start + 110s));
}

TEST_CASE("hang watch: however short the limit, the guest is not looked at all the time", "[hang]") {
  CHECK(HangWatch(1ms).interval() >= 10ms);
}
