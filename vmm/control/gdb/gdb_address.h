// GdbAddress: where gdb finds a machine: what stands behind --gdb.
#pragma once

#include <string>
#include <string_view>

namespace vmm {

struct GdbAddress {
  std::string path;  // of a Unix socket, or empty
  std::string host;  // else
  std::string port;

  // "unix:PATH", "tcp::PORT" (of this host alone), "tcp:HOST:PORT". Throws Error.
  static GdbAddress parse(std::string_view text);
  // The socket of a machine that is called `name`, or has no name.
  static GdbAddress by_default(const std::string& name);
  // What gdb is told: `target remote ...`.
  std::string for_gdb() const;
};

// What a user said about gdb.
struct DebugConfig {
  bool listen = false;
  bool at_kernel = false;  // a kernel that unpacks itself is to have done so when gdb comes
  std::string address;     // as behind --gdb; empty: a socket by the machine's name
  std::string vmlinux;     // whose symbols gdb is to read
  bool on_panic = false;   // a panic waits for gdb
};

}  // namespace vmm
