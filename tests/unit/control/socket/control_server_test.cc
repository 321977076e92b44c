// Clients of the control socket, sensible and others.
#include "vmm/control/socket/control_server.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <vector>

#include "tests/support/fake_controls.h"
#include "tests/support/temp_file.h"
#include "tests/support/unix_ends.h"
#include "tests/support/wait_until.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

const std::string kStatus = "{\"do\": \"status\"}\n";
const std::string kEvents = "{\"do\": \"events\"}\n";
const std::string kDone = "{\"ok\":true}\n";

struct Fixture {
  explicit Fixture(std::chrono::milliseconds patience = ControlServer::kPatience)
      : server(loop, files("s"), controls, patience) {}

  HostEnd client() const { return HostEnd(files("s")); }
  // All that has come when there is a line.
  std::string answer(HostEnd& client) {
    std::string text;
    wait_until(loop, [&] { return (text += client.receive()).ends_with('\n'); });
    return text;
  }
  bool ended(HostEnd& client) {
    return wait_until(loop, [&] { return client.ended(); });
  }

  TempDirectory files;
  EventLoop loop;
  FakeControls controls;
  ControlServer server;
};

}  // namespace

TEST_CASE("control server: requests are answered in order, however they are cut into pieces", "[control]") {
  Fixture f;
  HostEnd client = f.client();
  client.send("{\"do\": \"pau");
  f.loop.run_ready();
  CHECK(client.receive().empty());
  client.send("se\"}\n{\"do\": \"resume\"}\n");
  CHECK(wait_until(f.loop, [&] { return f.controls.calls == "pauseresume"; }));
  CHECK(f.answer(client) == kDone + kDone);
}

TEST_CASE("control server: the socket is the user's alone, and gone in the end", "[control]") {
  const TempDirectory files;
  {
    EventLoop loop;
    FakeControls controls;
    const ControlServer server(loop, files("s"), controls);
    struct stat status = {};
    REQUIRE(::stat(files("s").c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0600);
    CHECK_THROWS_WITH(ControlServer(loop, files("s"), controls), Contains("is running"));
  }
  CHECK(std::filesystem::is_empty(files.path()));
}

TEST_CASE("control server: a socket left behind is taken over", "[control]") {
  const TempDirectory files;
  { const HostListener dead(files("s")); }
  REQUIRE(std::filesystem::exists(files("s")));
  EventLoop loop;
  FakeControls controls;
  CHECK_NOTHROW(ControlServer(loop, files("s"), controls));
}

TEST_CASE("control server: events come to those who asked", "[control]") {
  Fixture f;
  HostEnd listening = f.client(), other = f.client();
  listening.send(kEvents);
  other.send(kStatus);
  CHECK(f.answer(listening) == kDone);
  f.answer(other);
  f.server.announce("paused");
  CHECK(f.answer(listening) == "{\"event\":\"paused\"}\n");
  f.loop.run_ready();
  CHECK(other.receive().empty());
}

TEST_CASE("control server: a line that never ends is refused", "[control]") {
  Fixture f;
  HostEnd client = f.client(), other = f.client();
  client.send(std::string(ControlServer::kMaxLine, 'x'));
  CHECK_THAT(f.answer(client), Contains("the line is too long"));
  CHECK(f.ended(client));
  other.send(kStatus);
  CHECK_THAT(f.answer(other), Contains("\"ok\":true"));
}

TEST_CASE("control server: who says nothing is gone after a while, unless it waits for events", "[control]") {
  Fixture f(std::chrono::milliseconds(100));
  HostEnd silent = f.client(), half = f.client(), listening = f.client();
  half.send("{\"do\"");
  listening.send(kEvents);
  CHECK(f.answer(listening) == kDone);
  CHECK(f.ended(silent));
  CHECK(f.ended(half));
  CHECK_FALSE(listening.ended());
}

TEST_CASE("control server: who takes no events loses the connection, not the machine its memory", "[control]") {
  Fixture f;
  HostEnd client = f.client();
  client.send(kEvents);
  CHECK(f.answer(client) == kDone);
  for (int i = 0; i < 100'000; ++i) f.server.announce("paused");
  CHECK(f.ended(client));
}

TEST_CASE("control server: who does not take an answer is asked no more, and gone after a while", "[control]") {
  Fixture f(std::chrono::milliseconds(200));
  f.controls.findings.log.assign(100'000, "a line of the kernel's log");
  HostEnd client = f.client();
  client.send("{\"do\": \"dmesg\"}\n{\"do\": \"pause\"}\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  f.loop.run_ready();
  CHECK(f.controls.calls.empty());
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  f.loop.run_ready();
  CHECK(f.ended(client));
  CHECK(f.controls.calls.empty());
}

TEST_CASE("control server: more clients than it has room for wait for a place", "[control]") {
  Fixture f;
  std::vector<HostEnd> clients;
  for (size_t i = 0; i < ControlServer::kMaxClients; ++i) {
    clients.push_back(f.client());
    clients.back().send(kEvents);
    CHECK(f.answer(clients.back()) == kDone);
  }
  HostEnd late = f.client();
  late.send(kStatus);
  f.loop.run_ready();
  CHECK(late.receive().empty());
  clients.pop_back();
  CHECK_THAT(f.answer(late), Contains("\"ok\":true"));
}

TEST_CASE("control server: who waits for a dump has the next request answered after it", "[control]") {
  Fixture f;
  HostEnd client = f.client();
  client.send("{\"do\": \"dump\", \"file\": \"/core\"}\n" + kStatus);
  CHECK(wait_until(f.loop, [&] { return f.controls.dumping != nullptr; }));
  f.loop.run_ready();
  CHECK(client.receive().empty());
  HostEnd other = f.client();
  other.send(kStatus);
  CHECK_THAT(f.answer(other), Contains("ci-3"));
  f.controls.dumping(std::nullopt);
  std::string text;
  CHECK(wait_until(f.loop, [&] { return (text += client.receive()).find("ci-3") != std::string::npos; }));
  CHECK(text.starts_with(kDone));
}

TEST_CASE("control server: who left before its dump was written is not answered", "[control]") {
  Fixture f(std::chrono::milliseconds(50));
  {
    HostEnd client = f.client();
    client.send("{\"do\": \"dump\", \"file\": \"/core\"}\n");
    CHECK(wait_until(f.loop, [&] { return f.controls.dumping != nullptr; }));
  }
  f.loop.run_ready();
  f.controls.dumping(std::nullopt);
  HostEnd other = f.client();
  other.send(kStatus);
  CHECK_THAT(f.answer(other), Contains("ci-3"));
}

TEST_CASE("control server: a client becomes a console's, with what it typed already", "[control]") {
  Fixture f;
  HostEnd client = f.client();
  client.send("{\"do\": \"console\"}\nls\n{\"do\": \"pause\"}\n");
  CHECK(f.answer(client) == "{\"name\":\"ttyS0\",\"ok\":true,\"visitors\":1,\"where\":\"stdio\"}\n");
  CHECK(wait_until(f.loop, [&] { return f.controls.admitted.get() >= 0; }));
  CHECK(f.controls.calls == "ttyS0 ls\n{\"do\": \"pause\"}\n");
  HostEnd admitted(std::move(f.controls.admitted));
  admitted.send("hello");
  CHECK(wait_until(f.loop, [&] { return client.receive() == "hello"; }));
}

TEST_CASE("control server: a console that is not there is refused, and the client stays", "[control]") {
  Fixture f;
  HostEnd client = f.client();
  client.send("{\"do\": \"console\", \"name\": \"hvc7\"}\n");
  CHECK_THAT(f.answer(client), Contains("there is no such console"));
  client.send("{\"do\": \"break\", \"name\": \"ttyS0\"}\n");
  CHECK(f.answer(client) == kDone);
  CHECK(f.controls.calls == "break ttyS0");
}
