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
