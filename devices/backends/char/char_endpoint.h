// CharEndpoint: the host's end of a console: standard streams, a file, a pseudo-terminal, a socket, or nothing.
//
// An endpoint knows how peers come and go; moving bytes is CharStream's work. What each kind does:
//   stdio  the caller's streams, re-opened where possible, because a description shared with the caller's shell must
//          not be left non-blocking; where not, the flags are put back
//   file   created, or emptied
//   pty    its path is logged; it lives on with no reader
//   unix   listens at a path (mode 0600; a stale socket file is replaced), one client at a time, later ones wait
//   tcp    the same on an address
//   null   nobody is ever there
#pragma once

#include <functional>
#include <memory>

#include "devices/backends/char/char_config.h"
#include "vmm/core/event_loop.h"

namespace vmm {

// The peer's descriptors, non-blocking, borrowed from the endpoint; -1 is none.
struct CharPeer {
  int input = -1;
  int output = -1;
};

class CharEndpoint {
 public:
  virtual ~CharEndpoint() = default;
  // Whoever is there is reported, now and whenever that changes; before a descriptor closes, its peer is replaced.
  virtual void start(std::function<void(CharPeer)> on_peer) = 0;
  // The stream met the end of the peer's input or a broken connection. An endpoint with one peer for life stays as it
  // is.
  virtual void peer_lost() {}
};

// Throws Error when the host refuses.
std::unique_ptr<CharEndpoint> open_char_endpoint(EventLoop& loop, const CharConfig& config);
// unix= and tcp= (char_socket.cc).
std::unique_ptr<CharEndpoint> open_char_socket(EventLoop& loop, const CharConfig& config);

}  // namespace vmm
