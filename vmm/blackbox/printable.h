// Text of a guest on its way to somebody's terminal: whatever is not a plain character becomes \xNN.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

namespace vmm {

inline std::string printable(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    if ((c >= ' ' && c <= '~') || c == '\t') {
      safe += c;
    } else {
      safe += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return safe;
}

}  // namespace vmm
