// A vmcore written by a thread while the loop turns.
#include "vmm/control/session/core_dump.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/support/temp_file.h"
#include "tests/support/wait_until.h"
#include "vmm/blackbox/vmcore.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

constexpr uint64_t kSize = uint64_t{64} << 20;

struct Fixture {
  Fixture() : memory(std::array{GuestMemory::Range{{0}, kSize}}) {
    for (uint64_t page = 0; page < kSize; page += 4096) memory.write_value(GuestAddress{page}, page + 1);
  }
  auto on_end() {
    return [this](const std::optional<Error>& error) {
      ++ends;
      trouble = error;
    };
  }

  TempDirectory folder;
  EventLoop loop;
  GuestMemory memory;
  int ends = 0;
  std::optional<Error> trouble;
};

}  // namespace

TEST_CASE("core dump: its end is told on the loop, when the file is there", "[vmcore]") {
  Fixture f;
  const CoreDump dump(f.loop, f.folder("core"), f.memory, std::array{CpuState{.registers = X86Registers{.rip = 5}}},
                      f.on_end());
  CHECK(f.ends == 0);
  REQUIRE(wait_until(f.loop, [&] { return f.ends > 0; }));
  CHECK_FALSE(f.trouble);
  const Vmcore core(f.folder("core"));
  CHECK(core.cpus().at(0).pc() == 5);
  CHECK(core.read<uint64_t>(GuestAddress{kSize - 4096}) == kSize - 4095);
}

TEST_CASE("core dump: one that is given up ends with an error, and leaves nothing", "[vmcore]") {
  Fixture f;
  CoreDump dump(f.loop, f.folder("core"), f.memory, {}, f.on_end());
  dump.give_up();
  REQUIRE(wait_until(f.loop, [&] { return f.ends > 0; }));
  REQUIRE(f.trouble);
  CHECK_THAT(f.trouble->what(), Contains("given up"));
  CHECK(std::filesystem::is_empty(f.folder.path()));
}

TEST_CASE("core dump: one that is gone says nothing any more, and leaves nothing", "[vmcore]") {
  Fixture f;
  { const CoreDump dump(f.loop, f.folder("core"), f.memory, {}, f.on_end()); }
  f.loop.run_ready();
  CHECK(f.ends == 0);
  CHECK(std::filesystem::is_empty(f.folder.path()));
}

TEST_CASE("core dump: a place that cannot have one is refused at once", "[vmcore]") {
  Fixture f;
  CHECK_THROWS_WITH(CoreDump(f.loop, f.folder("none/core"), f.memory, {}, f.on_end()), Contains("No such file"));
}

TEST_CASE("core dump: how to open it is a line for a shell", "[vmcore]") {
  CHECK(how_to_open("a/core") == "a/core (open: drgn -c a/core -s vmlinux)");
  CHECK(how_to_open("my core") == "my core (open: drgn -c 'my core' -s vmlinux)");
}
