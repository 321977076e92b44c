// KVM's binary statistics, as a kernel lays them out in their file.
#include "vmm/kvm/stats.h"

#include <fcntl.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <string>

#include "tests/support/temp_file.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint32_t kNameSize = 48, kDescriptors = 64, kData = 1024;

struct File {
  File() { put(0, kvm_stats_header{.name_size = kNameSize, .desc_offset = kDescriptors, .data_offset = kData}); }

  template <typename T>
  void put(size_t offset, const T& value) {
    bytes.resize(std::max(bytes.size(), offset + sizeof value));
    std::memcpy(bytes.data() + offset, &value, sizeof value);
  }
  void add(const std::string& name, uint32_t flags, uint64_t value, uint16_t size = 1) {
    const size_t at = kDescriptors + count * (sizeof(kvm_stats_desc) + kNameSize);
    kvm_stats_desc about{};
    about.flags = flags;
    about.size = size;
    about.offset = count * 8;
    put(at, about);
    bytes.replace(at + sizeof about, name.size(), name);
    put(kData + about.offset, value);
    put(offsetof(kvm_stats_header, num_desc), ++count);
  }
  KvmStats open() const {
    return KvmStats(UniqueFd(::open(folder.file("stats", bytes).c_str(), O_RDONLY | O_CLOEXEC)));
  }

  TempDirectory folder;
  std::string bytes = std::string(kData, '\0');
  uint32_t count = 0;
};

}  // namespace

TEST_CASE("kvm stats: counts are read by their names, and read anew each time", "[kvm]") {
  File file;
  file.add("exits", KVM_STATS_TYPE_CUMULATIVE, 1000);
  file.add("halt_wakeup", KVM_STATS_TYPE_CUMULATIVE, 7);
  const KvmStats stats = file.open();
  REQUIRE(stats.there());
  REQUIRE(stats.counts().size() == 2);
  CHECK(stats.counts()[0].name == "exits");
  CHECK(stats.counts()[0].value == 1000);
  CHECK(stats.sum({"exits", "halt_wakeup", "no such"}) == 1007u);
  CHECK_FALSE(stats.sum({"no such"}));
  file.put(kData + 8, uint64_t{9});
  file.folder.file("stats", file.bytes);
  CHECK(stats.sum({"halt_wakeup"}) == 9u);
}

TEST_CASE("kvm stats: what is no plain count that only grows is left out", "[kvm]") {
  File file;
  file.add("blocking", KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_BOOLEAN, 1);
  file.add("halt_poll_success_ns", KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_SECONDS, 5);
  file.add("hist", KVM_STATS_TYPE_LOG_HIST, 5, 2);
  file.add("exits", KVM_STATS_TYPE_CUMULATIVE, 3);
  REQUIRE(file.open().counts().size() == 1);
  CHECK(file.open().counts()[0].value == 3);
}

TEST_CASE("kvm stats: a file that is none, or is cut short, has none", "[kvm]") {
  File file;
  CHECK_FALSE(file.open().there());
  file.put(offsetof(kvm_stats_header, num_desc), uint32_t{1} << 30);
  CHECK_FALSE(file.open().there());
  file.bytes = "short";
  CHECK_FALSE(file.open().there());
}

TEST_CASE("kvm stats: counts are added by their names", "[kvm]") {
  std::vector<KvmStats::Value> sums{{"exits", 5}, {"halt_exits", 1}};
  add_counts(sums, {{"halt_exits", 2}, {"io_exits", 3}});
  REQUIRE(sums.size() == 3);
  CHECK(sums[0].value == 5);
  CHECK(sums[1].value == 3);
  CHECK(sums[2].name == "io_exits");
  CHECK(sums[2].value == 3);
}
