// Clients of the gdb port, sensible and others.
#include "vmm/control/gdb/gdb_server.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/support/fake_gdb_target.h"
#include "tests/support/temp_file.h"
#include "tests/support/unix_ends.h"
#include "tests/support/wait_until.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

struct Fixture {
  HostEnd client() const { return HostEnd(files("g")); }
  std::string answer(HostEnd& client, std::string_view packet) {
    client.send(gdb_packet(packet));
    return more(client);
  }
  // What comes, up to the end of a packet.
  std::string more(HostEnd& client) {
    std::string text;
    wait_until(loop, [&] {
      text += client.receive();
      const size_t end = text.rfind('#');
      return end != std::string::npos && text.size() >= end + 3;
    });
    return text;
  }
  bool called(const std::string& calls) {
    return wait_until(loop, [&] { return target.calls == calls; });
  }

  TempDirectory files;
  EventLoop loop;
  FakeGdbTarget target;
  std::optional<GdbServer> server{std::in_place, loop, GdbAddress{.path = files("g")}, target};
};

}  // namespace

TEST_CASE("gdb server: packets are acknowledged until gdb asks not to", "[gdb]") {
  Fixture f;
  HostEnd gdb = f.client();
  CHECK(f.answer(gdb, "?") == "+" + gdb_packet("T05thread:1;"));
  gdb.send("-");
  CHECK(f.more(gdb) == gdb_packet("T05thread:1;"));
  gdb.send("$g#00");
  CHECK(wait_until(f.loop, [&] { return gdb.receive() == "-"; }));
  CHECK(f.answer(gdb, "QStartNoAckMode") == "+" + gdb_packet("OK"));
  CHECK(f.answer(gdb, "qC") == gdb_packet("QC1"));
  gdb.send("$g#00");
  CHECK(f.more(gdb) == gdb_packet("E01"));
}

TEST_CASE("gdb server: a connection alone does nothing, nor does garbage", "[gdb]") {
  Fixture f;
  HostEnd gdb = f.client();
  gdb.send("GET / HTTP/1.1\r\n\r\n\x03\x03+++---$$$$");
  wait_until(f.loop, [n = 0]() mutable { return ++n > 20; });
  CHECK(f.target.calls.empty());
}

TEST_CASE("gdb server: a client that vanishes in the middle of a packet has detached", "[gdb]") {
  Fixture f;
  HostEnd gdb = f.client();
  f.target.put(0x1000, "\x55");
  f.answer(gdb, "Z0,1000,1");
  CHECK(f.target.bytes(0x1000, 1) == "\xcc");
  gdb.send("$m0,");
  gdb.close();
  CHECK(f.called("stop leave "));
  CHECK(f.target.bytes(0x1000, 1) == "\x55");
  HostEnd next = f.client();
  CHECK(f.answer(next, "?") == "+" + gdb_packet("T05thread:1;"));
}

TEST_CASE("gdb server: a second client is told that there is one, and sent away", "[gdb]") {
  Fixture f;
  HostEnd first = f.client();
  f.answer(first, "?");
  HostEnd second = f.client();
  CHECK_THAT(f.more(second), Contains("another gdb is attached"));
  CHECK(wait_until(f.loop, [&] { return second.ended(); }));
  CHECK(f.answer(first, "qC") == "+" + gdb_packet("QC1"));
}

TEST_CASE("gdb server: a client that says nothing does not keep others out", "[gdb]") {
  Fixture f;
  HostEnd silent = f.client();
  wait_until(f.loop, [n = 0]() mutable { return ++n > 20; });
  HostEnd gdb = f.client();
  CHECK(f.answer(gdb, "?") == "+" + gdb_packet("T05thread:1;"));
  CHECK(wait_until(f.loop, [&] { return silent.ended(); }));
}

TEST_CASE("gdb server: a flood of Ctrl-C stops the machine once", "[gdb]") {
  Fixture f;
  HostEnd gdb = f.client();
  f.answer(gdb, "?");
  gdb.send(gdb_packet("vCont;c"));
  gdb.send(std::string(100000, '\x03'));
  CHECK(f.more(gdb) == "+" + gdb_packet("T02thread:1;"));
  CHECK(f.called("stop go:go,go, stop "));
}

TEST_CASE("gdb server: who does not read what was asked for is gone", "[gdb]") {
  Fixture f;
  HostEnd gdb = f.client();
  f.answer(gdb, "?");
  const std::string read = gdb_packet("m0,ffff");
  CHECK(wait_until(f.loop, [&] {
    for (int i = 0; i < 100; ++i) gdb.send(read);
    return f.target.calls == "stop leave ";
  }));
}

TEST_CASE("gdb server: gdb hears how the run ended", "[gdb]") {
  Fixture f;
  HostEnd gdb = f.client();
  f.answer(gdb, "?");
  f.server->end(96);
  CHECK(f.more(gdb) == gdb_packet("W60"));
}

TEST_CASE("gdb server: the socket is the user's alone, one is there at most, and it is gone in the end", "[gdb]") {
  Fixture f;
  struct stat status = {};
  REQUIRE(::stat(f.files("g").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  CHECK_THROWS_AS(GdbServer(f.loop, GdbAddress{.path = f.files("g")}, f.target), Error);
  f.server.reset();
  CHECK(std::filesystem::is_empty(f.files.path()));
}
