// A dozen of the ways to die in tests/deaths, with what vmm says of each; tools/soak/deaths.py runs them all.
#include <catch2/catch.hpp>
#include <cstdlib>

TEST_CASE("deaths: those that every CI runs are named rightly", "[boot][deaths]") {
  ::setenv("VMM", "build/vmm/vmm", 0);
  CHECK(std::system(DEATHS " --here --ci") == 0);
}
