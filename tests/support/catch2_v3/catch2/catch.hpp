// The header of Catch2 v2 for those who have v3, so that tests are written once, in v2's words. Meson puts it before
// v3's headers.
#pragma once

#include <catch2/catch_all.hpp>
#include <string>
#include <type_traits>
#include <utility>

namespace Catch::Matchers {

// v3 calls it ContainsSubstring, and has a matcher for elements of ranges under this name.
inline auto Contains(const char* text) { return ContainsSubstring(text); }
template <typename Text>
requires std::is_same_v<std::remove_cvref_t<Text>, std::string>
auto Contains(Text&& text) { return ContainsSubstring(std::forward<Text>(text)); }

}  // namespace Catch::Matchers

namespace Catch {

using Matchers::Contains;

}  // namespace Catch
