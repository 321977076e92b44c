// What is found out about the host's files before there is a machine.
#include "vmm/machine/backends.h"

#include <unistd.h>

#include <catch2/catch.hpp>

#include "tests/support/descriptors.h"
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

  config.initrds = {files.file("empty", "")};
  CHECK_THROWS_WITH(Backends(loop, config), Contains(config.initrds.front()) && Contains("is empty"));
  config.initrds = {files(".")};
  CHECK_THROWS_WITH(Backends(loop, config), Contains(config.initrds.front()) && Contains("a directory"));
  config.initrds = {files("none")};
  CHECK_THROWS_WITH(Backends(loop, config), Contains("cannot open initrd '" + config.initrds.front()));
  config.initrds = {files.file("full", "content")};
  CHECK_NOTHROW(Backends(loop, config));
}

TEST_CASE("backends: initrds of Linux are joined, each from a multiple of four bytes on", "[backends]") {
  const TempDirectory files;
  MachineConfig config;
  config.kernel = files.file("kernel", bzimage());
  config.initrd_kind = InitrdKind::kFile;
  config.initrds = {files.file("first", "12345"), files.file("second", "678"), files.file("third", "9")};
  EventLoop loop;
  const Backends backends(loop, config);
  REQUIRE(backends.initrds.size() == 1);
  ::lseek(backends.initrds.front().fd.get(), 0, SEEK_SET);
  CHECK(read_available(backends.initrds.front().fd) == std::string("12345\0\0\0"
                                                                   "678\0"
                                                                   "9",
                                                                   13));
}

TEST_CASE("backends: modules of Multiboot stay apart, with arguments behind a space", "[backends]") {
  const TempDirectory files;
  MachineConfig config;
  config.kernel = files.file("kernel", flat_multiboot({.load_addr = 1 << 20}, "code"));
  config.initrd_kind = InitrdKind::kFile;
  config.initrds = {files.file("one", "1") + " a=b c", files.file("two words", "2"), files("three") + " d"};
  EventLoop loop;
  CHECK_THROWS_WITH(Backends(loop, config), Contains("cannot open initrd '" + files("three") + "'"));
  config.initrds.pop_back();
  const Backends backends(loop, config);
  REQUIRE(backends.initrds.size() == 2);
  CHECK(backends.initrds[0].text == files("one") + " a=b c");
  CHECK(read_available(backends.initrds[1].fd) == "2");
}
