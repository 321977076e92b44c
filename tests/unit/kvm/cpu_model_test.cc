// Models, features and topology as CPUID leaves; no /dev/kvm needed.
#include "vmm/kvm/x86_64/cpu_model.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "vmm/core/error.h"

using namespace vmm;

namespace {

using Leaves = std::vector<kvm_cpuid_entry2>;

Leaves host_leaves() {
  Leaves leaves(4);
  leaves[0] = {.function = 0, .eax = 7};
  leaves[1] = {.function = 1, .ebx = 0xffffff00, .edx = 0xffffffff};
  leaves[2] = {.function = 0xb, .index = 0};
  leaves[3] = {.function = 0x80000008, .ecx = 0xffff};
  return leaves;
}

const kvm_cpuid_entry2& find(const Leaves& leaves, uint32_t function, uint32_t index = 0) {
  const auto found =
      std::ranges::find_if(leaves, [&](const auto& l) { return l.function == function && l.index == index; });
  REQUIRE(found != leaves.end());
  return *found;
}

}  // namespace

TEST_CASE("kvm: who may not open it is told what helps, by the device's mode and group", "[kvm]") {
  using Catch::Matchers::Contains;
  CHECK_THAT(fix_for_permission(0660, 108), Contains("usermod -aG kvm") && !Contains("chgrp"));
  CHECK_THAT(fix_for_permission(0660, 0), Contains("chgrp kvm"));
  CHECK_THAT(fix_for_permission(0600, 108), Contains("chgrp kvm"));
  CHECK_THAT(fix_for_permission(0666, 0), Contains("--device /dev/kvm"));
}

TEST_CASE("cpu model: known models and features are accepted", "[cpu]") {
  const std::string text = GENERATE("host", "baseline", "host,-avx2", "baseline,+sse4_2,+popcnt", "host,+invtsc");
  CHECK_NOTHROW(CpuModel::parse(text));
}

TEST_CASE("cpu model: unknown ones are refused, with the names there are", "[cpu]") {
  const std::string text = GENERATE("", "z80", "host,avx2", "host,+nonsense", "host,", "host,+");
  CHECK_THROWS_AS(CpuModel::parse(text), Error);
}

TEST_CASE("cpu model: each vCPU knows its own id and how many there are", "[cpu]") {
  const Leaves leaves = with_topology(host_leaves(), 5, 8);
  CHECK(find(leaves, 1).ebx >> 24 == 5);
  CHECK((find(leaves, 1).ebx >> 16 & 0xff) == 8);
  CHECK(find(leaves, 0xb, 0).edx == 5);
  CHECK(find(leaves, 0xb, 1).ebx == 8);
  CHECK(find(leaves, 0xb, 1).eax == 3);  // bits of an id that tell cores apart
  CHECK(find(leaves, 0).eax == 0xb);
}

TEST_CASE("cpu model: AMD's leaves of caches and topology say the same as its identifiers", "[cpu]") {
  Leaves host = host_leaves();
  constexpr uint32_t kSharedBy16 = 15 << 14, kSecondLevel = 2 << 5 | 3, kThirdLevel = 3 << 5 | 3;
  host.push_back({.function = 0x8000001d, .index = 0, .eax = kSharedBy16 | kSecondLevel});
  host.push_back({.function = 0x8000001d, .index = 1, .eax = kSharedBy16 | kThirdLevel});
  host.push_back({.function = 0x8000001d, .index = 2, .eax = 0});
  host.push_back({.function = 0x8000001e, .eax = 77, .ebx = 0x107, .ecx = 1});
  for (uint32_t index = 0; index < 4; ++index) {
    host.push_back({.function = 0x80000026, .index = index, .eax = 4, .ebx = 32, .ecx = (index + 1) << 8, .edx = 77});
  }
  const Leaves leaves = with_topology(host, 5, 8);
  CHECK((find(leaves, 0x8000001d, 0).eax >> 14 & 0xfff) == 0);  // a core's own
  CHECK((find(leaves, 0x8000001d, 1).eax >> 14 & 0xfff) == 7);
  CHECK(find(leaves, 0x8000001d, 2).eax == 0);
  CHECK(find(leaves, 0x8000001e).eax == 5);
  CHECK((find(leaves, 0x8000001e).ebx >> 8 & 0xff) == 0);  // one thread a core
  const auto& core = find(leaves, 0x80000026, 0);
  CHECK(core.eax == 0);
  CHECK(core.ebx == 1);
  CHECK(core.ecx == 0x100);
  CHECK(core.edx == 5);
  const auto& socket = find(leaves, 0x80000026, 1);
  CHECK(socket.eax == 3);
  CHECK(socket.ebx == 8);
  CHECK(socket.ecx == 0x401);
  CHECK(socket.edx == 5);
  CHECK(std::ranges::count(leaves, 0x80000026, &kvm_cpuid_entry2::function) == 2);
  CHECK(std::ranges::count(with_topology(host_leaves(), 5, 8), 0x80000026, &kvm_cpuid_entry2::function) == 0);
}

TEST_CASE("cpu model: memory beyond its address bits is refused with what fits", "[cpu]") {
  Leaves leaves(1);
  leaves[0] = {.function = 0x80000008, .eax = 36};
  CHECK_NOTHROW(require_addresses(leaves, uint64_t{64} << 30));
  CHECK_THROWS_WITH(require_addresses(leaves, (uint64_t{64} << 30) + 4096), Catch::Contains("36 address bits"));
  try {
    require_addresses(leaves, uint64_t{1} << 40);
  } catch (const Error& error) {
    CHECK(error.fix() == "--mem 63G");
  }
  CHECK_THROWS_AS(require_addresses({}, uint64_t{1} << 37), Error);
  leaves[0].eax = 52 | 48 << 16;
  CHECK_THROWS_WITH(require_addresses(leaves, uint64_t{1} << 49), Catch::Contains("48 address bits"));
}

TEST_CASE("cpu model: a single vCPU has no hyper-threading bit", "[cpu]") {
  const Leaves leaves = with_topology(host_leaves(), 0, 1);
  CHECK((find(leaves, 1).edx >> 28 & 1) == 0);
  CHECK(find(leaves, 0xb, 1).eax == 0);
}

TEST_CASE("cpu model: 254 vCPUs fit into the fields", "[cpu]") {
  const Leaves leaves = with_topology(host_leaves(), 253, 254);
  CHECK(find(leaves, 1).ebx >> 24 == 253);
  CHECK((find(leaves, 1).ebx >> 16 & 0xff) == 254);
  CHECK((find(leaves, 0x80000008).ecx & 0xff) == 253);
}
