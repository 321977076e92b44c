// Flags cut at their commas, with doubled ones put back; see option_list.h.
#include "devices/backends/option_list.h"

namespace vmm {

std::vector<std::string> split_options(std::string_view text) {
  std::vector<std::string> parts(1);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != ',') {
      parts.back() += text[i];
    } else if (text.substr(i, 2) == ",,") {
      parts.back() += ',';
      ++i;
    } else {
      parts.emplace_back();
    }
  }
  return parts;
}

}  // namespace vmm
