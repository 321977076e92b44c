// MacAddress: the address of a network card, "52:54:00:12:34:56".
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vmm {

struct MacAddress {
  std::array<uint8_t, 6> bytes{};

  static std::optional<MacAddress> parse(std::string_view text);
  std::string text() const;

  bool is_multicast() const { return (bytes[0] & 1) != 0; }
  bool operator==(const MacAddress&) const = default;
};

constexpr MacAddress kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

}  // namespace vmm
