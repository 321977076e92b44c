// What on a shared serial line is kgdb's, and what is the console's.
#include "devices/backends/char/gdb_splitter.h"

#include <catch2/catch.hpp>

using namespace vmm;

namespace {

struct Fixture {
  Fixture() { splitter.set_gdb(true); }

  // The text of the console; what is gdb's is appended to `gdb`.
  std::string print(const std::string& output) {
    std::vector<std::byte> bytes;
    for (const char byte : output) bytes.push_back(static_cast<std::byte>(byte));
    gdb += splitter.split(bytes);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::string flush() {
    std::vector<std::byte> bytes;
    splitter.flush(bytes);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  void ask(const std::string& text) {
    splitter.from_gdb(
        std::as_bytes(std::span(text)),
        {.to_guest = [this](const std::string& packet) { guest += packet; }, .enter = [this] { guest += "<enter>"; }});
  }

  GdbSplitter splitter;
  std::string gdb, guest;
};

}  // namespace

TEST_CASE("gdb splitter: packets go to gdb, text around them to the console", "[gdb][splitter]") {
  Fixture f;
  CHECK(f.print("one\n$T05thread:01;#07two\n") == "one\ntwo\n");
  CHECK(f.gdb == "$T05thread:01;#07");
}

TEST_CASE("gdb splitter: a packet may come byte by byte", "[gdb][splitter]") {
  Fixture f;
  for (const char byte : std::string("$OK#9a")) CHECK(f.print(std::string(1, byte)).empty());
  CHECK(f.gdb == "$OK#9a");
  CHECK_FALSE(f.splitter.holds());
}

TEST_CASE("gdb splitter: what only looks like a packet is text, all of it", "[gdb][splitter]") {
  Fixture f;
  const std::string text =
      GENERATE("$ ls\n", "$OK#00 ", "$OK#9z", "$$ \n", "costs $5 #1\n", "$OK\x01#9a\n", "$\xe2\x82\xac");
  CHECK(f.print(text) == text);
  CHECK(f.gdb.empty());
}

TEST_CASE("gdb splitter: a packet behind a dollar sign is found", "[gdb][splitter]") {
  Fixture f;
  CHECK(f.print("$ $OK#9a") == "$ ");
  CHECK(f.gdb == "$OK#9a");
}

TEST_CASE("gdb splitter: a prompt is held until the guest is silent, and is text then", "[gdb][splitter]") {
  Fixture f;
  CHECK(f.print("$ ").empty());
  CHECK(f.splitter.holds());
  CHECK(f.flush() == "$ ");
  CHECK(f.print("ls") == "ls");
}

TEST_CASE("gdb splitter: what has no end is text", "[gdb][splitter]") {
  Fixture f;
  const std::string text = "$" + std::string(3 * GdbSplitter::kMostPrinted, 'x');
  CHECK(f.print(text) + f.flush() == text);
}

TEST_CASE("gdb splitter: signs are acknowledgements only where one is due", "[gdb][splitter]") {
  Fixture f;
  CHECK(f.print("1 + 1\n") == "1 + 1\n");
  f.ask("$g#67");
  CHECK(f.print("+$OK#9a2 + 2\n") == "2 + 2\n");
  CHECK(f.gdb == "+$OK#9a");
}

TEST_CASE("gdb splitter: without a gdb all is text, at once", "[gdb][splitter]") {
  Fixture f;
  CHECK(f.print("$O").empty());
  f.splitter.set_gdb(false);
  CHECK(f.print("K#9a") == "$OK#9a");
  CHECK(f.print("$OK#9a") == "$OK#9a");
  CHECK(f.gdb.empty());
}

TEST_CASE("gdb splitter: the kernel is entered before the first packet, and at an interrupt", "[gdb][splitter]") {
  Fixture f;
  f.ask("+$qSupported#37");
  CHECK(f.guest == "<enter>$qSupported#37");
  f.guest.clear();
  f.ask("$c#63\x03");
  CHECK(f.guest == "$c#63<enter>");
}

TEST_CASE("gdb splitter: after a detach, or another gdb, the kernel is entered anew", "[gdb][splitter]") {
  Fixture f;
  f.ask("$?#3f$D#44$?#3f");
  CHECK(f.guest == "<enter>$?#3f$D#44<enter>$?#3f");
  f.splitter.set_gdb(true);
  f.guest.clear();
  f.ask("$?#3f");
  CHECK(f.guest == "<enter>$?#3f");
}

TEST_CASE("gdb splitter: gdb's acknowledgements pass where the kernel waits for one", "[gdb][splitter]") {
  Fixture f;
  f.ask("+++");
  f.print("$OK#9a");
  f.ask("-");
  f.print("$OK#9a");
  f.ask("++noise");
  CHECK(f.guest == "-+");
}

TEST_CASE("gdb splitter: a request without end is dropped", "[gdb][splitter]") {
  Fixture f;
  f.ask("$" + std::string(GdbSplitter::kMostAsked, 'x'));
  f.ask("$?#3f");
  CHECK(f.guest == "<enter>$?#3f");
}
