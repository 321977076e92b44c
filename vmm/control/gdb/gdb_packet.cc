// Packets read and written, byte by byte, with checksums and escapes; see gdb_packet.h.
#include "vmm/control/gdb/gdb_packet.h"

#include <fmt/core.h>

#include <charconv>

namespace vmm {

namespace {

constexpr char kInterrupt = 0x03;
constexpr char kEscape = '}';
constexpr char kEscapeBit = 0x20;
constexpr std::string_view kDigits = "0123456789abcdef";

std::optional<unsigned> number_of(std::string_view digits) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

}  // namespace

std::vector<GdbInput> GdbPacketReader::feed(std::string_view bytes) {
  std::vector<GdbInput> inputs;
  for (const char byte : bytes) {
    if (auto input = take(byte)) inputs.push_back(std::move(*input));
  }
  return inputs;
}

std::optional<GdbInput> GdbPacketReader::take(char byte) {
  switch (place_) {
    case Place::kOutside:
      if (byte == kInterrupt) return GdbInput{GdbInput::Kind::kInterrupt, {}};
      if (byte == '+') return GdbInput{GdbInput::Kind::kAcknowledged, {}};
      if (byte == '-') return GdbInput{GdbInput::Kind::kAskedAgain, {}};
      if (byte != '$') return std::nullopt;
      payload_.clear();
      checksum_.clear();
      too_long_ = false;
      sum_ = 0;
      place_ = Place::kPayload;
      return std::nullopt;
    case Place::kPayload:
    case Place::kEscaped:
      if (byte == '#') {
        place_ = Place::kChecksum;
        return std::nullopt;
      }
      sum_ = static_cast<uint8_t>(sum_ + static_cast<uint8_t>(byte));
      if (place_ == Place::kPayload && byte == kEscape) {
        place_ = Place::kEscaped;
        return std::nullopt;
      }
      if (place_ == Place::kEscaped) byte = static_cast<char>(byte ^ kEscapeBit);
      place_ = Place::kPayload;
      too_long_ = too_long_ || payload_.size() == kMaxPayload;
      if (!too_long_) payload_ += byte;
      return std::nullopt;
    case Place::kChecksum:
      checksum_ = byte;
      place_ = Place::kChecksumEnd;
      return std::nullopt;
    case Place::kChecksumEnd:
      checksum_ += byte;
      place_ = Place::kOutside;
      if (too_long_ || number_of(checksum_) != sum_) return GdbInput{GdbInput::Kind::kBroken, {}};
      return GdbInput{GdbInput::Kind::kPacket, payload_};
  }
  return std::nullopt;
}

std::string gdb_packet(std::string_view payload) {
  std::string packet = "$";
  uint8_t sum = 0;
  const auto add = [&](char byte) {
    packet += byte;
    sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(byte));
  };
  for (const char byte : payload) {
    const bool special = byte == '#' || byte == '$' || byte == kEscape || byte == '*';
    if (special) add(kEscape);
    add(special ? static_cast<char>(byte ^ kEscapeBit) : byte);
  }
  return packet + fmt::format("#{:02x}", sum);
}

std::string to_hex(std::span<const std::byte> bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 0xf];
  }
  return text;
}

std::string to_hex(std::string_view text) { return to_hex(std::as_bytes(std::span(text))); }

std::optional<std::string> from_hex(std::string_view digits) {
  if (digits.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  bytes.reserve(digits.size() / 2);
  for (size_t i = 0; i < digits.size(); i += 2) {
    const auto value = number_of(digits.substr(i, 2));
    if (!value) return std::nullopt;
    bytes += static_cast<char>(*value);
  }
  return bytes;
}

bool GdbWords::take(std::string_view prefix) {
  if (!text_.starts_with(prefix)) return false;
  text_.remove_prefix(prefix.size());
  return true;
}

std::optional<uint64_t> GdbWords::take_number() {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value, 16);
  if (error != std::errc()) return std::nullopt;
  text_.remove_prefix(static_cast<size_t>(end - text_.data()));
  return value;
}

std::string_view GdbWords::take_until(char end) {
  const size_t at = text_.find(end);
  const std::string_view word = text_.substr(0, at);
  text_ = at == std::string_view::npos ? std::string_view() : text_.substr(at + 1);
  return word;
}

}  // namespace vmm
