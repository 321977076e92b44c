// The splitter's state machine: text is passed on, a packet is held until its checksum has come; see gdb_splitter.h.
#include "devices/backends/char/gdb_splitter.h"

#include <optional>
#include <string_view>
#include <utility>

namespace vmm {

namespace {

constexpr char kInterrupt = 3;

bool is_printable(char byte) { return byte >= ' ' && byte <= '~'; }

std::optional<unsigned> digit(char byte) {
  if (byte >= '0' && byte <= '9') return static_cast<unsigned>(byte - '0');
  if (byte >= 'a' && byte <= 'f') return static_cast<unsigned>(byte - 'a' + 10);
  if (byte >= 'A' && byte <= 'F') return static_cast<unsigned>(byte - 'A' + 10);
  return std::nullopt;
}

// "$PAYLOAD#xx": whether xx is the sum of the payload's bytes.
bool adds_up(std::string_view packet) {
  unsigned sum = 0;
  for (const char byte : packet.substr(1, packet.size() - 4)) sum += static_cast<unsigned char>(byte);
  const auto high = digit(packet[packet.size() - 2]), low = digit(packet[packet.size() - 1]);
  return high && low && (sum & 0xff) == (*high << 4 | *low);
}

void append(std::vector<std::byte>& text, std::string_view bytes) {
  for (const char byte : bytes) text.push_back(static_cast<std::byte>(byte));
}

}  // namespace

void GdbSplitter::set_gdb(bool there) {
  gdb_ = there;
  entered_ = false;
  asked_.clear();
  acknowledgements_due_ = acknowledgements_owed_ = 0;
}

// ---- from the guest

std::string GdbSplitter::split(std::vector<std::byte>& output) {
  if (!gdb_ && held_.empty()) return {};
  std::string to_gdb;
  std::vector<std::byte> text;
  for (const std::byte next : output) {
    const char byte = static_cast<char>(next);
    if (gdb_ && state_ != State::kText && continue_packet(byte, to_gdb)) continue;
    flush(text);
    if (gdb_ && byte == '$') {
      held_ = byte;
      state_ = State::kPacket;
    } else if (acknowledgements_due_ > 0 && (byte == '+' || byte == '-')) {
      --acknowledgements_due_;
      to_gdb += byte;
    } else {
      text.push_back(next);
    }
  }
  output = std::move(text);
  return to_gdb;
}

bool GdbSplitter::continue_packet(char byte, std::string& to_gdb) {
  const bool fits = held_.size() < kMostPrinted;
  if (state_ == State::kPacket) {
    if (!fits || byte == '$' || !is_printable(byte)) return false;
    held_ += byte;
    if (byte == '#') state_ = State::kChecksum;
    return true;
  }
  if (!fits || !digit(byte)) return false;
  held_ += byte;
  if (held_[held_.size() - 3] != '#') return true;  // the first digit; a payload has no '#'
  if (!adds_up(held_)) {
    // Not the byte but all of it is text.
    held_.pop_back();
    return false;
  }
  to_gdb += std::exchange(held_, {});
  state_ = State::kText;
  acknowledgements_due_ = 0;  // what has been answered has been acknowledged
  ++acknowledgements_owed_;
  return true;
}

void GdbSplitter::flush(std::vector<std::byte>& text) {
  append(text, std::exchange(held_, {}));
  state_ = State::kText;
}

// ---- from gdb

void GdbSplitter::from_gdb(std::span<const std::byte> bytes, const Actions& actions) {
  for (const std::byte byte : bytes) ask(static_cast<char>(byte), actions);
}

void GdbSplitter::ask(char byte, const Actions& actions) {
  if (asked_.empty()) {
    if (byte == '$') {
      asked_ = byte;
    } else if (byte == kInterrupt) {
      entered_ = true;
      actions.enter();
    } else if ((byte == '+' || byte == '-') && acknowledgements_owed_ > 0) {
      --acknowledgements_owed_;
      actions.to_guest(std::string(1, byte));
    }
    return;
  }
  asked_ += byte;
  const bool complete = asked_.size() >= 4 && asked_[asked_.size() - 3] == '#';
  if (complete) return send_packet(actions);
  if (asked_.size() == kMostAsked) asked_.clear();
}

// After D nobody listens any more.
void GdbSplitter::send_packet(const Actions& actions) {
  if (!std::exchange(entered_, true)) actions.enter();
  if (asked_[1] == 'D') entered_ = false;
  ++acknowledgements_due_;
  actions.to_guest(std::exchange(asked_, {}));
}

}  // namespace vmm
