// The text of a MAC address, in and out; see mac_address.h.
#include "devices/backends/net/mac_address.h"

#include <fmt/format.h>

#include <charconv>

namespace vmm {

std::optional<MacAddress> MacAddress::parse(std::string_view text) {
  MacAddress address;
  constexpr size_t kDigits = 2, kStep = 3;
  if (text.size() != kStep * address.bytes.size() - 1) return std::nullopt;
  for (size_t i = 0; i < address.bytes.size(); ++i) {
    const char* digits = text.data() + kStep * i;
    const auto [end, error] = std::from_chars(digits, digits + kDigits, address.bytes[i], 16);
    if (error != std::errc() || end != digits + kDigits) return std::nullopt;
    if (i + 1 < address.bytes.size() && *end != ':') return std::nullopt;
  }
  return address;
}

std::string MacAddress::text() const { return fmt::format("{:02x}", fmt::join(bytes, ":")); }

}  // namespace vmm
