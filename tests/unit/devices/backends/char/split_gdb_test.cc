// A serial line with a console's end and gdb's end.
#include "devices/backends/char/split_gdb.h"

#include <catch2/catch.hpp>

#include "tests/support/temp_file.h"
#include "tests/support/unix_ends.h"
#include "tests/support/wait_until.h"

using namespace vmm;
using namespace vmm::test;

namespace {

class NobodyThere : public CharEndpoint {
 public:
  void start(std::function<void(CharPeer)>) override {}
};

struct Fixture {
  Fixture() {
    stream.set_observer([this](std::span<const std::byte> output) {
      console.append(reinterpret_cast<const char*>(output.data()), output.size());
    });
    stream.set_input([this](std::span<const std::byte> bytes) {
      guest.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return bytes.size();
    });
    split.set_on_enter([this] { guest += "<BREAK g>"; });
  }

  HostEnd gdb() {
    HostEnd end(files("g"));
    loop.run_ready();
    return end;
  }
  bool print(std::string_view text) {
    size_t done = 0;
    return wait_until(
        loop, [&] { return (done += stream.write(std::as_bytes(std::span(text)).subspan(done))) == text.size(); });
  }
  bool guest_hears(const std::string& text) {
    return wait_until(loop, [&] { return guest == text; });
  }
  bool console_shows(const std::string& text) {
    return wait_until(loop, [&] { return console == text; });
  }
  bool gets(HostEnd& end, const std::string& text) {
    std::string seen;
    return wait_until(loop, [&] { return (seen += end.receive()) == text; });
  }

  TempDirectory files;
  EventLoop loop;
  CharStream stream{loop, std::make_unique<NobodyThere>(), {}};
  SplitGdb split{loop, stream, open_char_endpoint(loop, CharConfig::parse("unix=" + files("g")))};
  std::string console, guest;
};

}  // namespace

TEST_CASE("split gdb: gdb reaches a running kernel, and the console keeps its text", "[gdb][splitter]") {
  Fixture f;
  HostEnd gdb = f.gdb();
  REQUIRE(gdb.connected());
  gdb.send("+$qSupported#37");
  CHECK(f.guest_hears("<BREAK g>$qSupported#37"));
  REQUIRE(f.print("sysrq: DEBUG\n+$#00"));
  CHECK(f.gets(gdb, "+$#00"));
  CHECK(f.console_shows("sysrq: DEBUG\n"));
  gdb.send("+$?#3f");
  CHECK(f.guest_hears("<BREAK g>$qSupported#37+$?#3f"));
}

TEST_CASE("split gdb: a prompt is shown although gdb is there", "[gdb][splitter]") {
  Fixture f;
  HostEnd gdb = f.gdb();
  gdb.send("$c#63");
  CHECK(f.guest_hears("<BREAK g>$c#63"));
  REQUIRE(f.print("+/ $ "));
  CHECK(f.console_shows("/ $ "));
  CHECK(f.gets(gdb, "+"));
}

TEST_CASE("split gdb: without gdb the console shows what there is", "[gdb][splitter]") {
  Fixture f;
  REQUIRE(f.print("$T05#b9"));
  CHECK(f.console_shows("$T05#b9"));
  {
    const HostEnd gdb = f.gdb();
    gdb.send("$g#67");
    CHECK(f.guest_hears("<BREAK g>$g#67"));
  }
  CHECK(wait_until(f.loop, [turns = 0]() mutable { return ++turns > 20; }));  // it is seen to have gone
  REQUIRE(f.print("$OK#9a"));
  CHECK(f.console_shows("$T05#b9$OK#9a"));
}

TEST_CASE("split gdb: a second gdb waits until the first has gone", "[gdb][splitter]") {
  Fixture f;
  HostEnd first = f.gdb(), second = f.gdb();
  second.send("$?#3f");
  first.send("$g#67");
  CHECK(f.guest_hears("<BREAK g>$g#67"));
  first.close();
  CHECK(f.guest_hears("<BREAK g>$g#67<BREAK g>$?#3f"));
}

TEST_CASE("split gdb: the guest of the next boot is entered anew", "[gdb][splitter]") {
  Fixture f;
  HostEnd gdb = f.gdb();
  gdb.send("$g#67");
  CHECK(f.guest_hears("<BREAK g>$g#67"));
  f.split.set_on_enter([&f] { f.guest += "<again>"; });
  gdb.send("$g#67");
  CHECK(f.guest_hears("<BREAK g>$g#67<again>$g#67"));
}

TEST_CASE("split gdb: one that does not read is gone, and the console goes on", "[gdb][splitter]") {
  Fixture f;
  HostEnd gdb = f.gdb();
  const std::string packet = "$" + std::string(1000, '0') + "#80";
  for (int i = 0; i < 2000; ++i) REQUIRE(f.print(packet));
  REQUIRE(f.print("text\n"));
  CHECK(wait_until(f.loop, [&] { return f.console.ends_with("text\n"); }));
  CHECK(wait_until(f.loop, [&] { return gdb.ended(); }));
}
