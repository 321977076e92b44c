// Addresses as text.
#include "devices/backends/net/mac_address.h"

#include <catch2/catch.hpp>
#include <string>

using namespace vmm;

TEST_CASE("mac address: text and back", "[net]") {
  const auto address = MacAddress::parse("52:54:00:aB:cd:0f");
  REQUIRE(address);
  CHECK(address->text() == "52:54:00:ab:cd:0f");
  CHECK_FALSE(address->is_multicast());
  CHECK(kBroadcast.is_multicast());
}

TEST_CASE("mac address: what is none is refused", "[net]") {
  const std::string text = GENERATE("", "52:54:00:ab:cd", "52:54:00:ab:cd:0", "52:54:00:ab:cd:0g", "52-54-00-ab-cd-0f",
                                    "52:54:00:ab:cd:0f:", "5:254:00:ab:cd:0f", "+2:54:00:ab:cd:0f");
  CHECK_FALSE(MacAddress::parse(text));
}
