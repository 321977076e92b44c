// GdbServer: where gdb connects to: a Unix socket of the user's alone, or a TCP port. One gdb at a time; another is
// told so and sent away.
//
// A gdb that vanishes has detached: its breakpoints are taken out, and the machine runs.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "vmm/control/gdb/gdb_address.h"
#include "vmm/control/gdb/gdb_packet.h"
#include "vmm/control/gdb/gdb_stub.h"
#include "vmm/control/gdb/gdb_target.h"
#include "vmm/control/socket/control_address.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/fd.h"

namespace vmm {

class GdbServer {
 public:
  static constexpr size_t kMaxOutput = size_t{1} << 20;  // bytes that may wait for gdb; one that takes less is given up

  // Throws Error when it cannot listen there. All arguments outlive it.
  GdbServer(EventLoop& loop, const GdbAddress& address, GdbTarget& target);
  GdbServer(const GdbServer&) = delete;
  GdbServer& operator=(const GdbServer&) = delete;
  ~GdbServer();

  GdbStub& stub() { return *stub_; }
  const GdbStub& stub() const { return *stub_; }
  // Tells gdb that the run has ended with this exit code.
  void end(int exit_code);

 private:
  void accept();
  void receive();
  void obey(const GdbInput& input);
  void send(std::string_view bytes);
  void send_some();
  void lose();

  EventLoop& loop_;
  GdbAddress address_;
  std::optional<PathLock> claim_;
  UniqueFd listener_;
  FdWatch incoming_;
  Timer retry_;
  std::unique_ptr<GdbStub> stub_;

  UniqueFd client_;
  std::optional<FdWatch> readable_, writable_;
  GdbPacketReader reader_;
  std::string output_;
  std::string last_packet_;  // kept for a gdb that asks for it again
};

}  // namespace vmm
