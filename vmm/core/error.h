// Error: what the host could not do for the user.
//
// Thrown while a machine is being set up, never from code that a guest can reach. It carries the two lines that the
// user sees: "vmm: what: why" and "  fix: ..." (the fix may be empty).
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

namespace vmm {

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, std::string fix = {})
      : std::runtime_error(message), fix_(std::move(fix)) {}

  // One shell line or hint that mends it; empty when there is none.
  const std::string& fix() const { return fix_; }

 private:
  std::string fix_;
};

// The words for an errno value, without the thread-unsafe buffer of strerror().
inline std::string errno_text(int error) {
  const char* text = strerrordesc_np(error);
  return text != nullptr ? text : "error " + std::to_string(error);
}

// "SIGTERM".
inline std::string signal_name(int number) {
  const char* name = sigabbrev_np(number);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(number);
}

}  // namespace vmm
