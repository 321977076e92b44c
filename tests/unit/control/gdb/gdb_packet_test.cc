// Packets of gdb's protocol: sensible, cut into pieces, and broken.
#include "vmm/control/gdb/gdb_packet.h"

#include <catch2/catch.hpp>

using namespace vmm;

namespace {

// What was understood: packets in brackets.
std::string understood(GdbPacketReader& reader, std::string_view bytes) {
  std::string text;
  for (const GdbInput& input : reader.feed(bytes)) {
    switch (input.kind) {
      case GdbInput::Kind::kPacket:
        text += "[" + input.payload + "]";
        break;
      case GdbInput::Kind::kBroken:
        text += "!";
        break;
      case GdbInput::Kind::kInterrupt:
        text += "^C";
        break;
      case GdbInput::Kind::kAcknowledged:
        text += "+";
        break;
      case GdbInput::Kind::kAskedAgain:
        text += "-";
        break;
    }
  }
  return text;
}

std::string understood(std::string_view bytes) {
  GdbPacketReader reader;
  return understood(reader, bytes);
}

}  // namespace

TEST_CASE("gdb packet: what is between packets is told apart", "[gdb]") {
  CHECK(understood("+$g#67-xyz\n\x03$m0,4#fd") == "+[g]-^C[m0,4]");
}

TEST_CASE("gdb packet: it may come in any pieces", "[gdb]") {
  GdbPacketReader reader;
  CHECK(understood(reader, "$m").empty());
  CHECK(understood(reader, "0,4#").empty());
  CHECK(understood(reader, "f").empty());
  CHECK(understood(reader, "d$g#") == "[m0,4]");
  CHECK(understood(reader, "67") == "[g]");
}

TEST_CASE("gdb packet: escapes are undone, and made", "[gdb]") {
  const std::string payload = "X0,4:#$}*\x03";
  CHECK(gdb_packet("#") == "$}\x03#80");
  CHECK(understood(gdb_packet(payload)) == "[" + payload + "]");
}

TEST_CASE("gdb packet: one with a wrong checksum, or none, is broken", "[gdb]") {
  CHECK(understood("$g#68") == "!");
  CHECK(understood("$g#zz") == "!");
  CHECK(understood("$g##7") == "!");
  CHECK(understood("$g#+7$g#67") == "![g]");
}

TEST_CASE("gdb packet: one that is too long is broken, and the next is not", "[gdb]") {
  const std::string most(GdbPacketReader::kMaxPayload, 'a');
  CHECK(understood(gdb_packet(most)) == "[" + most + "]");
  GdbPacketReader reader;
  CHECK(understood(reader, gdb_packet(most + "a")) == "!");
  CHECK(understood(reader, gdb_packet(std::string(1 << 20, 'a'))) == "!");
  CHECK(understood(reader, "$g#67") == "[g]");
}

TEST_CASE("gdb packet: an end without a beginning is nothing", "[gdb]") { CHECK(understood("#00}}#67").empty()); }

TEST_CASE("gdb packet: bytes and hexadecimal digits", "[gdb]") {
  CHECK(to_hex(std::string_view("\x01\xfe", 2)) == "01fe");
  CHECK(from_hex("01FE") == std::string("\x01\xfe", 2));
  CHECK(from_hex("").value().empty());
  CHECK(!from_hex("0"));
  CHECK(!from_hex("0g"));
  CHECK(!from_hex("-1"));
}

TEST_CASE("gdb packet: words are taken from the beginning, or left", "[gdb]") {
  GdbWords words("ffff,-1;rest:");
  CHECK(words.take_number() == 0xffff);
  CHECK(!words.take(";"));
  CHECK(words.take(","));
  CHECK(!words.take_number());
  CHECK(words.take_until(';') == "-1");
  CHECK(words.take_until(':') == "rest");
  CHECK(words.empty());
  CHECK(!GdbWords("10000000000000000").take_number());
  CHECK(GdbWords("abc").take_until(';') == "abc");
}
