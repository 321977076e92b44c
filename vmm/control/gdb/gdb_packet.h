// The packets of gdb's remote protocol: `$payload#checksum`, the byte 0x03 that interrupts, and the acknowledgements
// between them. See "Overview" in appendix E of the gdb manual. Nothing here knows what a payload means.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vmm {

// One thing that gdb sent.
struct GdbInput {
  enum class Kind { kPacket, kBroken, kInterrupt, kAcknowledged, kAskedAgain };
  Kind kind = Kind::kBroken;  // kBroken: a packet whose checksum is wrong, or that is too long
  std::string payload;        // of kPacket, its escapes undone
};

// Takes what gdb sent apart, however it is cut into pieces. What is between packets and means nothing is left out.
class GdbPacketReader {
 public:
  static constexpr size_t kMaxPayload = 0x4000;  // bytes, escapes undone

  std::vector<GdbInput> feed(std::string_view bytes);

 private:
  enum class Place { kOutside, kPayload, kEscaped, kChecksum, kChecksumEnd };

  std::optional<GdbInput> take(char byte);

  Place place_ = Place::kOutside;
  std::string payload_;
  bool too_long_ = false;
  uint8_t sum_ = 0;
  std::string checksum_;
};

// A payload as a packet, with what must be escaped escaped.
std::string gdb_packet(std::string_view payload);

// Bytes as pairs of hexadecimal digits, and back; nothing when they are no such pairs.
std::string to_hex(std::span<const std::byte> bytes);
std::string to_hex(std::string_view text);
std::optional<std::string> from_hex(std::string_view digits);

// GdbWords: a payload read from its beginning. What does not come as expected leaves everything where it is.
class GdbWords {
 public:
  explicit GdbWords(std::string_view text) : text_(text) {}

  bool take(std::string_view prefix);
  std::optional<uint64_t> take_number();  // hexadecimal, at most 64 bits
  std::string_view take_until(char end);  // without it, and past it; all when it does not come
  std::string_view rest() const { return text_; }
  bool empty() const { return text_.empty(); }

 private:
  std::string_view text_;
};

}  // namespace vmm
