// Debian's gdb, driven by a script, for tests with guests.
#pragma once

#include <cpuid.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

namespace vmm::test {

inline std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? "'\\''" : std::string(1, c);
  return text + "'";
}

// What gdb prints, attached at `address`, to these commands. `symbols` may be empty. It is killed when it hangs.
inline std::string gdb(const std::string& symbols, const std::string& address,
                       const std::vector<std::string>& commands) {
  std::string line = "timeout -k 5 100 gdb -nx -nh -batch -ex 'set confirm off' -ex 'set pagination off'";
  if (!symbols.empty()) line += " -ex " + quoted("file " + symbols);
  line += " -ex " + quoted("target remote " + address);
  for (const std::string& command : commands) line += " -ex " + quoted(command);
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen((line + " 2>&1 </dev/null").c_str(), "r"), ::pclose);
  std::string text;
  char part[4096];
  while (pipe && std::fgets(part, sizeof part, pipe.get()) != nullptr) text += part;
  return text;
}

inline bool has_gdb() { return std::system("command -v gdb >/dev/null 2>&1") == 0; }

// Whether a guest stops where a debug register says. The VMRUN of QEMU's TCG, as in the lab, does not put them into
// force.
inline bool debug_registers_work() {
  unsigned eax = 0, name[3] = {};
  __cpuid(0x40000000, eax, name[0], name[1], name[2]);
  return std::memcmp(name, "TCGTCGTCGTCG", sizeof name) != 0;
}

// Whether a guest's INT3 and its accesses to watched data reach KVM as well. A KVM without hardware virtualization
// interprets code, and looks for breakpoints in debug registers at most. TCG does not tell a hypervisor of an INT3 (it
// looks whether INT n is intercepted).
inline bool breakpoints_work() {
  if (!debug_registers_work()) return false;
  std::ifstream file("/proc/cpuinfo");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  return text.find(" svm") != std::string::npos || text.find(" vmx") != std::string::npos;
}

// A Ctrl-C, so many seconds after this command.
inline std::string interrupt_after(int seconds) {
  return "python import os, signal, threading; threading.Timer(" + std::to_string(seconds) +
         ", lambda: os.kill(os.getpid(), signal.SIGINT)).start()";
}

}  // namespace vmm::test
