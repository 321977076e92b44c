// Architecture: what differs from one to the other and is said in a word. What takes more is in board_ARCH.cc,
// vcpu_ARCH.cc and vmm/kvm/ARCH; Meson chooses, by the host's CPU, which is the guest's.
#pragma once

#include <cstddef>
#include <string_view>

namespace vmm {

struct Architecture {
  std::string_view name;            // as `uname -m` has it
  std::string_view serial_console;  // what Linux calls the serial lines, with a number behind: "ttyS"
  std::string_view kernels;         // what --kernel takes, in words
  size_t max_serial = 0;
  unsigned max_cpus = 0;
  bool has_ports = false;      // for --debug-exit and --pc-testdev
  bool knows_exit_pc = false;  // KVM tells where in the guest's code each exit was, for traces
};

// In board_ARCH.cc.
extern const Architecture kArchitecture;

}  // namespace vmm
