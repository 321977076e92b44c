// What --vsock takes.
#include "devices/backends/vsock/vsock_config.h"

#include <catch2/catch.hpp>

#include "vmm/core/error.h"

using namespace vmm;
using Catch::Matchers::Contains;

TEST_CASE("--vsock: a path, and the guest's address", "[vsock]") {
  CHECK(VsockConfig::parse("/run/vm.sock").path == "/run/vm.sock");
  CHECK(VsockConfig::parse("/run/vm.sock").cid == 3);
  CHECK(VsockConfig::parse("vm.sock,cid=4294967294").cid == 4294967294);
  CHECK(VsockConfig::parse("a,,b").path == "a,b");
}

TEST_CASE("--vsock: refuses what it does not understand", "[vsock]") {
  CHECK_THROWS_WITH(VsockConfig::parse(""), Contains("no path"));
  CHECK_THROWS_WITH(VsockConfig::parse("s,port=3"), Contains("unknown option"));
  const std::string cid = GENERATE("", "2", "0", "-3", "4294967295", "4294967299", "3x");
  CHECK_THROWS_WITH(VsockConfig::parse("s,cid=" + cid), Contains("no address of a guest"));
}
