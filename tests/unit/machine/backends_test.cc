// What is found out about the host's files before there is a machine.
#include "vmm/machine/backends.h"

#include <catch2/catch.hpp>

#include "tests/support/kernel_builder.h"
#include "tests/support/temp_file.h"
#include "vmm/core/error.h"
#include "vmm/core/event_loop.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

TEST_CASE("backends: an initrd that cannot be one is refused by its name", "[backends]") {
  const TempDirectory files;
  MachineConfig config;
  config.kernel = files.file("kernel", flat_multiboot({.load_addr = 1 << 20}, "code"));
  config.initrd_kind = InitrdKind::kFile;
  EventLoop loop;

  config.initrd = files.file("empty", "");
  CHECK_THROWS_WITH(Backends(loop, config), Contains(config.initrd) && Contains("is empty"));
  config.initrd = files(".");
  CHECK_THROWS_WITH(Backends(loop, config), Contains(config.initrd) && Contains("a directory"));
  config.initrd = files("none");
  CHECK_THROWS_WITH(Backends(loop, config), Contains("cannot open initrd '" + config.initrd));
  config.initrd = files.file("full", "content");
  CHECK_NOTHROW(Backends(loop, config));
}
