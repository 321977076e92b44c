// GdbSplitter: tells the packets of gdb's remote protocol from the text of a console that shares a serial line with
// them, as a kernel's kgdb does (kgdboc=ttyS0), in both directions. See appendix E of the gdb manual for the protocol.
//
// A packet is "$", printable text, "#" and two digits of a checksum that is right; each is acknowledged with "+" or
// "-". What the guest prints is held from a "$" on until that is decided: by a byte or a checksum that no packet has,
// by its size, or by whoever asks for it because the guest has fallen silent. Without a gdb all is text.
//
// A running kernel listens to no gdb: enter() is asked for before the first packet, and when gdb wants to interrupt it.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace vmm {

class GdbSplitter {
 public:
  static constexpr size_t kMostPrinted = 4096;  // bytes of one packet from the guest
  static constexpr size_t kMostAsked = 16384;   // bytes of one packet from gdb

  struct Actions {
    std::function<void(std::string)> to_guest;  // a whole packet, or an acknowledgement
    std::function<void()> enter;                // make the guest's debugger take over; what is sent next is for it
  };

  // gdb has come, or has gone. What was held is text when it has gone: see flush().
  void set_gdb(bool there);

  // More of the guest's output: what is text stays in `output`. Returns what is gdb's.
  std::string split(std::vector<std::byte>& output);
  bool holds() const { return !held_.empty(); }
  // What is held is no packet: appends it to `text`.
  void flush(std::vector<std::byte>& text);

  // What gdb has sent. Whatever is neither packet, acknowledgement nor interrupt is dropped.
  void from_gdb(std::span<const std::byte> bytes, const Actions& actions);

 private:
  enum class State { kText, kPacket, kChecksum };

  // False: the byte does not belong to a packet.
  bool continue_packet(char byte, std::string& to_gdb);
  void ask(char byte, const Actions& actions);
  void send_packet(const Actions& actions);

  bool gdb_ = false;
  // From the guest.
  State state_ = State::kText;
  std::string held_;
  size_t acknowledgements_due_ = 0;  // acknowledgements that the guest is still to send for gdb's packets
  // From gdb.
  std::string asked_;                 // a packet that is not complete yet
  size_t acknowledgements_owed_ = 0;  // acknowledgements that gdb is still to send for the guest's packets
  bool entered_ = false;              // since gdb has come, or was detached
};

}  // namespace vmm
