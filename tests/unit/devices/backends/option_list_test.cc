// Cutting a flag's text.
#include "devices/backends/option_list.h"

#include <catch2/catch.hpp>

using namespace vmm;

TEST_CASE("option list: single commas separate, double ones are commas", "[net][disk]") {
  using Parts = std::vector<std::string>;
  CHECK(split_options("") == Parts{""});
  CHECK(split_options("a") == Parts{"a"});
  CHECK(split_options("a,b=1,") == Parts{"a", "b=1", ""});
  CHECK(split_options("a,,b,c") == Parts{"a,b", "c"});
}
