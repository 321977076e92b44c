// Which typed bytes reach the guest, and which are commands.
#include "vmm/control/session/escape_keys.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "vmm/core/error.h"

using namespace vmm;

namespace {

using Command = EscapeKeys::Command;

// What came of typing; commands appear among the text as <number>.
std::string typed(EscapeKeys& keys, const std::string& text) {
  std::string seen;
  keys.feed(std::as_bytes(std::span(text)),
            {.to_guest =
                 [&](std::span<const std::byte> bytes) {
                   for (const std::byte byte : bytes) seen += static_cast<char>(byte);
                 },
             .command = [&](Command command) { seen += "<" + std::to_string(static_cast<int>(command)) + ">"; },
             .unknown = [&](char letter) { seen += std::string("<?") + letter + ">"; }});
  return seen;
}

std::string mark(Command command) { return "<" + std::to_string(static_cast<int>(command)) + ">"; }

}  // namespace

TEST_CASE("escape keys: plain text passes through", "[keys]") {
  EscapeKeys keys = EscapeKeys::parse("^A");
  CHECK(typed(keys, "ls -l\r\x02\x1b[A") == "ls -l\r\x02\x1b[A");
}

TEST_CASE("escape keys: a command takes effect between the bytes around it", "[keys]") {
  EscapeKeys keys = EscapeKeys::parse("^A");
  CHECK(typed(keys, "ab\x01pcd") == "ab" + mark(Command::kPause) + "cd");
}

TEST_CASE("escape keys: the key and its letter may arrive apart", "[keys]") {
  EscapeKeys keys = EscapeKeys::parse("^A");
  CHECK(typed(keys, "a\x01").append(typed(keys, "xb")) == "a" + mark(Command::kQuit) + "b");
}

TEST_CASE("escape keys: the key twice, or with 'a', is the key itself", "[keys]") {
  EscapeKeys keys = EscapeKeys::parse("^A");
  CHECK(typed(keys,
              "\x01\x01-\x01"
              "a") == "\x01-\x01");
}

TEST_CASE("escape keys: after BREAK the next key goes to the guest as its sysrq letter", "[keys]") {
  EscapeKeys keys = EscapeKeys::parse("^A");
  CHECK(typed(keys,
              "\x01"
              "bt") == mark(Command::kBreak) + "t");
}

TEST_CASE("escape keys: every letter of the help is a command", "[keys]") {
  const auto letter = GENERATE('h', 'x', 'b', 't', 'w', 'm', 'p', 'r', 'n');
  EscapeKeys keys = EscapeKeys::parse("^A");
  CHECK(typed(keys, std::string("\x01") + letter).find('?') == std::string::npos);
  CHECK(keys.help().find(std::string("Ctrl-A ") + letter) != std::string::npos);
}

TEST_CASE("escape keys: a visitor leaves with x or q, which are no command of the machine's", "[keys]") {
  EscapeKeys keys = EscapeKeys::parse("^A", EscapeKeys::Place::kVisit);
  CHECK(typed(keys, "\x01x\x01q") == mark(Command::kLeave) + mark(Command::kLeave));
  CHECK(typed(keys, "\x01g") == "<?g>");
  CHECK(keys.help().find("the machine runs on") != std::string::npos);
}

TEST_CASE("escape keys: an unknown letter is reported and not sent", "[keys]") {
  EscapeKeys keys = EscapeKeys::parse("^A");
  CHECK(typed(keys, "\x01zq") == "<?z>q");
}

TEST_CASE("escape keys: another key can be chosen", "[keys]") {
  EscapeKeys keys = EscapeKeys::parse("^]");
  CHECK(keys.name() == "Ctrl-]");
  CHECK(typed(keys, "\x01x\x1dx") == "\x01x" + mark(Command::kQuit));
}

TEST_CASE("escape keys: none means that every byte is the guest's", "[keys]") {
  EscapeKeys keys = EscapeKeys::parse("none");
  CHECK(typed(keys, "\x01x\x1d") == "\x01x\x1d");
  CHECK(keys.name().empty());
}

TEST_CASE("escape keys: what is no control key is refused", "[keys]") {
  const auto text = GENERATE("", "A", "^", "^1", "Ctrl-A", "^AA");
  CHECK_THROWS_AS(EscapeKeys::parse(text), Error);
}
