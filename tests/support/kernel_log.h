// What a test looks for in the output of a guest's console and of vmm.
#pragma once

#include <sstream>
#include <string>
#include <vector>

namespace vmm::test {

// The lines that begin with the kernel's time stamp, from after `prefix`.
inline std::vector<std::string> kernel_lines(const std::string& text, const std::string& prefix = {}) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    while (line.ends_with('\r')) line.pop_back();
    if (line.starts_with(prefix + "[ ")) lines.push_back(line.substr(prefix.size()));
  }
  return lines;
}

// The first line that has these words; empty when none has.
inline std::string line_with(const std::string& text, const std::string& words) {
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    if (line.find(words) != std::string::npos) return line;
  }
  return {};
}

}  // namespace vmm::test
