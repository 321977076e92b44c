// `vmm balloon`'s words; what becomes of them is in tests/boot/balloon_test.cc.
#include "vmm/control/socket/control_client.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "vmm/core/error.h"

using namespace vmm;
using Catch::Matchers::Contains;

namespace {

ControlRequest parse(const std::vector<std::string>& words) { return parse_control_request("balloon", words); }

}  // namespace

TEST_CASE("control client: a balloon's machine, and perhaps a size, or hint", "[control][balloon]") {
  CHECK(parse({"ci"}).name == "ci");
  CHECK_FALSE(parse({"ci"}).size);
  CHECK_FALSE(parse({"ci"}).hint);
  CHECK(parse({"ci", "512M"}).size == 512 << 20);
  CHECK_FALSE(parse({"ci", "512M"}).hint);
  CHECK(parse({"ci", "hint"}).hint);
  CHECK_FALSE(parse({"ci", "hint"}).size);
  CHECK_FALSE(parse({"hint"}).hint);
  const auto wrong = GENERATE(std::vector<std::string>{}, std::vector<std::string>{"ci", "512M", "hint"});
  CHECK_THROWS_WITH(parse(wrong), Contains("balloon takes the name of a machine"));
  CHECK_THROWS_WITH(parse({"ci", "hints"}), Contains("'hints'"));
}
