// The polling load driver that benchmarks use, against both engines.
#include <catch2/catch.hpp>

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
