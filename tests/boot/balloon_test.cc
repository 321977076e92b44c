// The balloon with a real kernel's driver: what the guest does without, and what the host gets back.
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <string>
#include <thread>

#include "tests/support/guests.h"
#include "tests/support/temp_file.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

constexpr uint64_t kMiB = 1 << 20;

// Of a file in which a line says `name: N kB`.
uint64_t bytes_of(std::istream& file, const std::string& name) {
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::stoull(line.substr(name.size() + 1)) * 1024;
  }
  return 0;
}

uint64_t guest_memory(TestVm& vm, const std::string& name) {
  return std::stoull(vm.run("awk '/^" + name + ":/ {print $2}' /proc/meminfo")) * 1024;
}

uint64_t host_memory(const TestVm& vm) {
  std::ifstream status("/proc/" + std::to_string(vm.pid()) + "/status");
  return bytes_of(status, "RssAnon");
}

// That the host thinks of as used lately.
uint64_t warm_memory(const TestVm& vm) {
  std::ifstream smaps("/proc/" + std::to_string(vm.pid()) + "/smaps_rollup");
  return bytes_of(smaps, "Referenced");
}

// Looks until it is true, for as long as an emulated machine may take.
template <typename Look>
bool patiently(Look look) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!look()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return true;
}

Words guest(const std::string& balloon) {
  return small_kernel() + tiny_initramfs() + Words{"--mem", "192M", "--balloon", balloon};
}

}  // namespace

TEST_CASE("balloon: the guest does without what was taken", "[boot][balloon]") {
  TestVm vm(guest("64M,deflate-on-oom=off"));
  vm.wait_for("tiny: ready");
  CHECK(patiently([&] { return guest_memory(vm, "MemTotal") < 128 * kMiB; }));
  CHECK(guest_memory(vm, "MemTotal") > 64 * kMiB);
  vm.send("poweroff -f\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("balloon: a guest that runs out of memory takes it back", "[boot][balloon]") {
  TestVm vm(guest("128M"));
  vm.wait_for("tiny: ready");
  CHECK(patiently([&] { return guest_memory(vm, "MemFree") < 40 * kMiB; }));
  CHECK(vm.run("head -c 64000000 /dev/zero | tail -c 64000000 | wc -c") == "64000000");
  vm.send("poweroff -f\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("balloon: what the guest frees, the host gets back", "[boot][balloon]") {
  TestVm vm(guest("0"));
  vm.wait_for("tiny: ready");
  vm.run("dd if=/dev/zero of=/dev/shm/file bs=1M count=64 2>/dev/null");
  const uint64_t used = host_memory(vm);
  REQUIRE(used > 64 * kMiB);
  vm.run("rm /dev/shm/file");
  CHECK(patiently([&] { return host_memory(vm) < used - 48 * kMiB; }));
  CHECK(vm.run("dd if=/dev/zero bs=1M count=32 2>/dev/null | wc -c") == "33554432");
  vm.send("poweroff -f\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("balloon: what the guest hints as free, the host takes first", "[boot][balloon]") {
  const TempDirectory folder;
  TestVm vm(guest("0,reporting=off") + Words{"--ctl", folder("s")});
  vm.wait_for("tiny: ready");
  vm.run("dd if=/dev/zero of=/dev/shm/file bs=1M count=64 2>/dev/null");
  const uint64_t used = host_memory(vm);
  vm.run("rm /dev/shm/file");
  const uint64_t warm = warm_memory(vm);
  REQUIRE(warm > 64 * kMiB);
  // Twice, as the guest must have back what it hinted.
  for (int i = 0; i < 2; ++i) {
    const std::string told = say({"balloon", folder("s"), "hint"});
    CHECK_THAT(told, Contains("MiB: the host takes it first when it is short") && Contains("free-memory"));
    const std::string_view row = "free, as hinted ";
    CHECK(std::stod(told.substr(told.find(row) + row.size())) > 48);
  }
  CHECK(warm_memory(vm) < warm - 48 * kMiB);
  CHECK(host_memory(vm) > used - 16 * kMiB);
  CHECK(vm.run("dd if=/dev/zero of=/dev/shm/file bs=1M count=64 2>/dev/null; tr -d '\\000' </dev/shm/file | wc -c") ==
        "0");
  vm.send("poweroff -f\n");
  CHECK(vm.wait_exit() == 0);
}

TEST_CASE("balloon: it is resized while the guest runs, which tells what it has", "[boot][balloon]") {
  const TempDirectory folder;
  TestVm vm(guest("0") + Words{"--ctl", folder("s"), "--on-reset", "reboot"});
  vm.wait_for("tiny: ready");
  const uint64_t before = guest_memory(vm, "MemFree");
  CHECK_THAT(say({"balloon", folder("s")}), Contains("size asked for       0.0 MiB") && Contains("free-memory"));
  CHECK_THAT(say({"balloon", folder("s"), "64M"}), Contains("size asked for       64.0 MiB"));
  CHECK(patiently([&] {
    return say({"balloon", folder("s")}).find("size now             64.0 MiB") != std::string::npos;
  }));
  CHECK(guest_memory(vm, "MemFree") < before - 48 * kMiB);
  TestVm refused({"balloon", folder("s"), "1G"});
  CHECK(refused.wait_exit() == 125);
  CHECK_THAT(refused.messages(), Contains("a balloon of 1024 MiB is larger than the guest's memory, 192 MiB"));

  vm.send("reboot -f\n");
  vm.wait_for("tiny: ready");
  CHECK(patiently([&] {
    return say({"balloon", folder("s")}).find("size now             64.0 MiB") != std::string::npos;
  }));
  say({"balloon", folder("s"), "0"});
  CHECK(patiently([&] { return guest_memory(vm, "MemFree") > before - 16 * kMiB; }));
  vm.send("poweroff -f\n");
  CHECK(vm.wait_exit() == 0);
}
