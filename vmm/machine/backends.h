// Backends: the host's side of a machine: everything its configuration names, opened.
//
// They outlive the machine they serve. A reboot builds a new Machine over the same Backends: disks stay locked, a
// throw-away copy keeps what was written to it, console clients and networks stay connected, the clock has the time
// that the guest set and the bytes it stored, and the kernel is the same file.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "devices/backends/char/char_stream.h"
#include "devices/backends/char/split_gdb.h"
#include "devices/backends/disk/block_backend.h"
#include "devices/backends/disk/io_engine.h"
#include "devices/backends/net/mac_address.h"
#include "devices/backends/net/net_backend.h"
#include "devices/backends/share/share_backend.h"
#include "devices/backends/vhost/vhost_user_socket.h"
#include "devices/backends/vsock/vsock_backend.h"
#include "devices/pc/rtc_cmos.h"
#include "firmware/kernel_file.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/fd.h"
#include "vmm/machine/config.h"
#include "vmm/machine/guest_command.h"

namespace vmm {

// Each of these is served here, or by the process behind a vhost-user socket: one of the two is null.
struct Disk {
  std::unique_ptr<BlockBackend> backend;
  std::unique_ptr<VhostUserSocket> socket;
  std::string describe() const { return backend ? backend->describe() : socket->describe(); }
};

struct Share {
  std::string tag;
  std::unique_ptr<ShareBackend> backend;
  std::unique_ptr<VhostUserSocket> socket;
  std::string describe() const { return backend ? backend->describe() : socket->describe(); }
};

struct Network {
  std::unique_ptr<NetBackend> backend;
  std::unique_ptr<VhostUserSocket> socket;
  MacAddress mac;  // of the guest's card: over a reboot it stays what it was
  std::string describe() const { return backend ? backend->describe() : socket->describe(); }
};

class Backends {
 public:
  // Throws Error when the host refuses any of them.
  Backends(EventLoop& loop, const MachineConfig& config);

  const KernelFile kernel;
  const std::vector<BootFile> initrds;  // of Linux one at most
  RtcCmos::Battery clock_battery;
  // In the order of the configuration.
  std::vector<std::unique_ptr<CharStream>> serial;
  std::vector<std::unique_ptr<CharStream>> consoles;
  std::vector<std::unique_ptr<SplitGdb>> split_gdb;  // one for each serial line, null where it has none
  std::unique_ptr<GuestCommand> command;             // null: none
  std::vector<Share> shares;                         // as shared_directories() has them
  std::vector<Network> networks;                     // without `none`
  std::unique_ptr<VsockBackend> vsock;               // null: none
  std::unique_ptr<IoEngine> io_engine;               // null: no disks
  std::vector<Disk> disks;                           // they end before the engine that serves them

  // The console on the standard streams, if there is one.
  CharStream* stdio() const { return stdio_; }
  // All consoles, serial ones first.
  std::vector<CharStream*> streams() const;
  // For a process that ends although requests are under way to the disks: they are not closed, nor is their engine.
  void leave_disks();

 private:
  CharStream* stdio_ = nullptr;
};

}  // namespace vmm
