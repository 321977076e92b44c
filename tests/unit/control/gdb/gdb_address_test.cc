// Where gdb finds a machine.
#include "vmm/control/gdb/gdb_address.h"

#include <catch2/catch.hpp>

#include "vmm/core/error.h"

using namespace vmm;
using Catch::Matchers::Contains;

TEST_CASE("gdb address: what may stand behind --gdb", "[gdb]") {
  CHECK(GdbAddress::parse("unix:/tmp/g").for_gdb() == "/tmp/g");
  CHECK(GdbAddress::parse("tcp::1234").for_gdb() == "127.0.0.1:1234");
  CHECK(GdbAddress::parse("tcp:0.0.0.0:1234").for_gdb() == "0.0.0.0:1234");
  CHECK(GdbAddress::parse("tcp:[::1]:1234").for_gdb() == "[::1]:1234");
  CHECK_THAT(GdbAddress::by_default("ci-3").path, Catch::Matchers::EndsWith("/ci-3.gdb"));
  for (const char* text : {"", "unix:", "tcp:", "tcp:1234x", "tcp::", "tcp::0", "tcp::70000", "1234", "tcp::1x"}) {
    INFO(text);
    CHECK_THROWS_WITH(GdbAddress::parse(text), Contains("--gdb"));
  }
}
