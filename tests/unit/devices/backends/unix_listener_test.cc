// Places where one can listen, and where one cannot.
#include "devices/backends/unix_listener.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "tests/support/temp_file.h"
#include "tests/support/unix_ends.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

TEST_CASE("unix listener: the socket is its owner's only", "[socket]") {
  const TempDirectory files;
  const UniqueFd listener = listen_unix("test socket", files("s"), 1);
  struct stat status = {};
  REQUIRE(::stat(files("s").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  CHECK(HostEnd(files("s")).connected());
}

TEST_CASE("unix listener: one that a dead program left is replaced, others are not", "[socket]") {
  const TempDirectory files;
  listen_unix("test socket", files("s"), 1);
  const UniqueFd listener = listen_unix("test socket", files("s"), 1);
  CHECK_THROWS_WITH(listen_unix("test socket", files("s"), 1), Contains("another program listens there"));
  files.file("mine", "precious");
  CHECK_THROWS_WITH(listen_unix("test socket", files("mine"), 1), Contains("it exists and is no socket"));
}

TEST_CASE("unix listener: says what is wrong with a path", "[socket]") {
  const TempDirectory files;
  CHECK_THROWS_WITH(listen_unix("test socket", files("none/s"), 1), Contains("its directory does not exist"));
  CHECK_THROWS_WITH(listen_unix("test socket", std::string(200, 'x'), 1), Contains("the path is too long"));
}
