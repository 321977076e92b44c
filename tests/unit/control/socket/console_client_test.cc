// `vmm console`'s words; the rest of it is in tests/boot/payload_console_test.cc.
#include "vmm/control/socket/console_client.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "vmm/core/error.h"

using namespace vmm;
using Catch::Matchers::Contains;

namespace {

ControlRequest parse(const std::vector<std::string>& words) { return parse_control_request("console", words); }

}  // namespace

TEST_CASE("console client: a machine, perhaps one of its consoles, and a key", "[control][console]") {
  CHECK(parse({"ci"}).name == "ci");
  CHECK(parse({"ci"}).console.empty());
  CHECK(parse({"ci", "hvc0"}).console == "hvc0");
  const ControlRequest other = parse({"--escape", "^]", "ci"});
  CHECK(other.name == "ci");
  CHECK(other.escape == "^]");
  const auto wrong = GENERATE(std::vector<std::string>{}, std::vector<std::string>{"a", "b", "c"},
                              std::vector<std::string>{"a", "--escape"}, std::vector<std::string>{"--quick"});
  CHECK_THROWS_WITH(parse(wrong), Contains("console takes the name of a machine"));
}

TEST_CASE("console client: no machine, or no such key, is said before the terminal is touched", "[control][console]") {
  CHECK_THROWS_WITH(visit_console(parse({"/nowhere/s"})), Contains("no machine '/nowhere/s' is running"));
  CHECK_THROWS_WITH(visit_console(parse({"ci", "--escape", "x"})), Contains("'x' is no escape key"));
}
