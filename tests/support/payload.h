// The arguments that start a payload kernel (tests/payload) in a small machine whose debug-exit port gives the status.
#pragma once

#include <string>
#include <vector>

namespace vmm::test {

inline std::vector<std::string> run_kernel(const std::string& name, const std::string& words,
                                           const std::vector<std::string>& more) {
  std::vector<std::string> arguments{"--kernel", PAYLOADS "/" + name, "--mem", "64M", "--append",
                                     words,      "--debug-exit",      "0xf4"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// payload("case=hello status=3", {"--name", "x"})
inline std::vector<std::string> payload(const std::string& words, const std::vector<std::string>& more = {}) {
  return run_kernel("payload.elf", words, more);
}
inline std::vector<std::string> blkload(const std::string& words, const std::vector<std::string>& more = {}) {
  return run_kernel("blkload.elf", words, more);
}
inline std::vector<std::string> netload(const std::string& words, const std::vector<std::string>& more) {
  return run_kernel("netload.elf", words, more);
}

// What vmm makes of a status that the guest wrote to the debug-exit port.
constexpr int debug_status(int value) { return value << 1 | 1; }

}  // namespace vmm::test
