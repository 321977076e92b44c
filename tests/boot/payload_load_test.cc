// The polling load drivers that benchmarks use: a disk's, against both engines, and a network card's.
#include <catch2/catch.hpp>
#include <filesystem>
#include <string>

#include "tests/support/payload.h"
#include "tests/support/temp_file.h"
#include "tests/support/test_vm.h"

using namespace vmm::test;
using Catch::Matchers::Contains;

TEST_CASE("load: every request of every kind and depth is answered", "[payload][load]") {
  const TempFile disk(16 << 20);
  const auto engine = GENERATE(as<std::string>(), "io_uring", "threads");
  const auto words = GENERATE(as<std::string>(), "op=read depth=1 count=500", "op=read depth=32 count=5000",
                              "op=write depth=32 count=5000 order=random", "op=write depth=8 size=65536 count=200",
                              "op=flush depth=4 count=100", "op=read depth=64 count=5000 event_idx=0");
  TestVm vm(blkload(words + " status=5", {"--disk", disk.path(), "--io-engine", engine}));
  CHECK(vm.wait_exit() == debug_status(5));
  CHECK_THAT(vm.output(), Contains(" 0 failed,"));
}

TEST_CASE("load: every frame is returned, and has been sent", "[payload][load][net]") {
  const TempDirectory files;
  const auto [words, size, count] =
      GENERATE(table<std::string, size_t, size_t>({{"depth=1", 64, 500}, {"depth=32", 1514, 5000}}));
  TestVm vm(
      netload("op=send " + words + " size=" + std::to_string(size) + " count=" + std::to_string(count) + " status=5",
              {"--net", "socket=" + files("net") + ",pcap=" + files("net.pcap")}));
  CHECK(vm.wait_exit() == debug_status(5));
  CHECK_THAT(vm.output(), Contains(std::to_string(count) + " frames") && Contains(" 0 lost,"));
  constexpr size_t kFileHeader = 24, kFrameHeader = 16;
  CHECK(std::filesystem::file_size(files("net.pcap")) == kFileHeader + count * (kFrameHeader + size));
}
