// SplitGdb: a second end of a serial line, for gdb, where the guest's kgdb shares the line with its console:
// --serial stdio,split-gdb=unix:PATH. What agent-proxy does for a real serial port. See gdb_splitter.h.
//
// To reach a kernel that runs, it sends what kgdboc waits for, a BREAK and a g (magic SysRq), and gives it kEntering to
// get there. A "$" that nothing follows for kSilence was text, such as a prompt. None of this waits for anybody; a gdb
// that does not take what it asked for is gone.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/backends/char/char_endpoint.h"
#include "devices/backends/char/char_stream.h"
#include "devices/backends/char/gdb_splitter.h"
#include "vmm/core/event_loop.h"

namespace vmm {

class SplitGdb {
 public:
  static constexpr std::chrono::milliseconds kSilence{100};
  static constexpr std::chrono::milliseconds kEntering{200};
  static constexpr size_t kMostWaiting = size_t{64} << 10;  // bytes, in either direction

  // `console` outlives it. `endpoint` is where gdb comes to.
  SplitGdb(EventLoop& loop, CharStream& console, std::unique_ptr<CharEndpoint> endpoint);
  SplitGdb(const SplitGdb&) = delete;
  SplitGdb& operator=(const SplitGdb&) = delete;
  ~SplitGdb();

  // How the guest that runs from now on is sent its BREAK and g.
  void set_on_enter(std::function<void()> enter);

 private:
  void set_peer(CharPeer peer);
  void lose_peer();
  void print(std::vector<std::byte>& output);
  void send_some();
  void receive();
  void enter();
  void pass_on();

  EventLoop& loop_;
  CharStream& console_;
  std::unique_ptr<CharEndpoint> endpoint_;
  std::function<void()> on_enter_;
  GdbSplitter splitter_;
  CharPeer peer_;
  std::optional<FdWatch> readable_, writable_;
  std::string to_gdb_, to_guest_;
  bool silent_ = false;  // the guest is: what is held is text
  Timer silence_;
  Timer entering_;
  Timer retry_;  // the guest did not take all
};

}  // namespace vmm
