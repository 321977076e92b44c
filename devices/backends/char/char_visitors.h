// CharVisitors: those who come to a console beside the peer that it was opened for, each over a socket: `vmm console`.
//
// All see what the guest prints from then on, and all may type; what they type comes to the guest in the order in which
// it arrives here. None holds the guest, the console's own peer or another visitor up: for one who reads slowly the
// newest kKept bytes are kept, and how many were lost is told at the place where they are missing; from one who types
// more than the guest takes, no more is read.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "devices/backends/char/char_ring.h"
#include "devices/backends/char/char_stream.h"
#include "vmm/core/event_loop.h"
#include "vmm/core/fd.h"

namespace vmm {

class CharVisitors {
 public:
  static constexpr size_t kMost = 8;
  static constexpr size_t kKept = size_t{256} << 10;  // bytes of output that wait for one visitor

  // `console` outlives it.
  CharVisitors(EventLoop& loop, CharStream& console);
  CharVisitors(const CharVisitors&) = delete;
  CharVisitors& operator=(const CharVisitors&) = delete;
  ~CharVisitors();  // sends what can be sent at once

  size_t count() const { return visitors_.size(); }
  // A connected, non-blocking socket; `typed` has been read from it already. With kMost visitors there it is closed.
  void admit(UniqueFd socket, std::string_view typed);

 private:
  struct Visitor {
    explicit Visitor(UniqueFd connection) : socket(std::move(connection)) {}
    UniqueFd socket;
    std::string typed;  // read, and not taken yet
    std::string notice;
    CharRing output{kKept};
    uint64_t lost = 0;
    std::optional<FdWatch> readable;
    std::optional<FdWatch> writable;
  };
  using Visitors = std::list<Visitor>;

  void show(std::span<const std::byte> output);
  void receive(Visitors::iterator visitor);
  void listen_to(Visitor& visitor);
  static bool send_some(Visitor& visitor);
  void serve(Visitors::iterator visitor);

  EventLoop& loop_;
  CharStream& console_;
  Visitors visitors_;
};

}  // namespace vmm
