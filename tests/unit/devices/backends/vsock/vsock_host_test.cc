// Clients of the host, sensible and others, and guests that call out.
#include "devices/backends/vsock/vsock_host.h"

#include <array>
#include <catch2/catch.hpp>
#include <filesystem>
#include <utility>
#include <vector>

#include "tests/support/temp_file.h"
#include "tests/support/unix_ends.h"
#include "tests/support/wait_until.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

struct Fixture {
  explicit Fixture(std::chrono::milliseconds patience = VsockHost::kPatience)
      : host(loop, {.path = files("v"), .cid = 3}, patience) {
    host.attach([this](std::unique_ptr<VsockStream> stream, uint32_t port) {
      streams.push_back(std::move(stream));
      ports.push_back(port);
    });
  }
  // Lets the backend see this, and nothing of what it needs to see is left.
  bool turned_away(HostEnd& client) {
    return wait_until(loop, [&] { return client.ended(); });
  }

  TempDirectory files;
  EventLoop loop;
  VsockHost host;
  std::vector<std::unique_ptr<VsockStream>> streams;
  std::vector<uint32_t> ports;
};

}  // namespace

TEST_CASE("vsock host: CONNECT names a port, and what is behind the line is the guest's", "[vsock]") {
  Fixture f;
  const HostEnd client(f.files("v"));
  client.send("CONNECT 1024\nhello");
  REQUIRE(wait_until(f.loop, [&] { return !f.ports.empty(); }));
  CHECK(f.ports == std::vector<uint32_t>{1024});
  std::array<std::byte, 16> room{};
  CHECK(f.streams.at(0)->read(room) == 5);
  CHECK(f.host.waiting_clients() == 0);
}

TEST_CASE("vsock host: a line may come byte by byte, and holds nobody up", "[vsock]") {
  Fixture f;
  const HostEnd slow(f.files("v"));
  const HostEnd silent(f.files("v"));
  HostEnd gone(f.files("v"));
  gone.close();
  for (const char byte : std::string("CONNECT 7")) {
    slow.send(std::string(1, byte));
    f.loop.run_ready();
  }
  const HostEnd quick(f.files("v"));
  quick.send("CONNECT 8\n");
  REQUIRE(wait_until(f.loop, [&] { return f.ports == std::vector<uint32_t>{8}; }));
  slow.send("\n");
  REQUIRE(wait_until(f.loop, [&] { return f.ports == std::vector<uint32_t>{8, 7}; }));
  CHECK(wait_until(f.loop, [&] { return f.host.waiting_clients() == 1; }));
}

TEST_CASE("vsock host: turns a client away that talks nonsense", "[vsock]") {
  Fixture f;
  const std::string line = GENERATE(as<std::string>(), "GET / HTTP/1.1\r\n\r\n", "CONNECT \n", "CONNECT -1\n",
                                    "CONNECT 4294967296\n", "CONNECT 12x\n", "connect 1\n", "\n");
  HostEnd client(f.files("v"));
  client.send(line);
  CHECK(f.turned_away(client));
  CHECK(f.ports.empty());
}

TEST_CASE("vsock host: does not read megabytes of garbage", "[vsock]") {
  Fixture f;
  HostEnd client(f.files("v"));
  const std::string garbage(10 << 20, 'x');
  CHECK(client.send(garbage) < garbage.size());
  CHECK(f.turned_away(client));
  CHECK(f.host.waiting_clients() == 0);
}

TEST_CASE("vsock host: a client that says nothing for too long is closed", "[vsock]") {
  Fixture f(std::chrono::milliseconds(20));
  HostEnd client(f.files("v"));
  client.send("CONNECT ");
  CHECK(f.turned_away(client));
  CHECK(f.host.waiting_clients() == 0);
}

TEST_CASE("vsock host: too many silent clients delay others, until one is gone", "[vsock]") {
  Fixture f(std::chrono::hours(1));
  std::vector<HostEnd> silent;
  for (size_t i = 0; i < VsockHost::kMaxClients; ++i) {
    silent.emplace_back(f.files("v"));
    f.loop.run_ready();
  }
  REQUIRE(wait_until(f.loop, [&] { return f.host.waiting_clients() == VsockHost::kMaxClients; }));
  const HostEnd client(f.files("v"));
  client.send("CONNECT 9\n");
  for (int turn = 0; turn < 3; ++turn) f.loop.run_ready();
  CHECK(f.ports.empty());
  silent.pop_back();
  CHECK(wait_until(f.loop, [&] { return f.ports == std::vector<uint32_t>{9}; }));
}

TEST_CASE("vsock host: the guest reaches who listens behind PATH_PORT", "[vsock]") {
  Fixture f;
  CHECK(f.host.connect(5000) == nullptr);
  const HostListener listener(f.files("v_5000"));
  const auto stream = f.host.connect(5000);
  REQUIRE(stream != nullptr);
  HostEnd end = listener.accept();
  const std::string text = "hi";
  stream->write(std::as_bytes(std::span(text)));
  CHECK(end.receive() == "hi");
}

TEST_CASE("vsock host: its socket is gone in the end, and never too long a path", "[vsock]") {
  const TempDirectory files;
  EventLoop loop;
  {
    const VsockHost host(loop, {.path = files("v")});
    CHECK(std::filesystem::exists(files("v")));
    CHECK_THAT(host.describe(), Contains("(cid 3)"));
  }
  CHECK_FALSE(std::filesystem::exists(files("v")));
  CHECK_THROWS_WITH(VsockHost(loop, {.path = std::string(100, 'x')}), Contains("too long"));
  CHECK_THROWS_WITH(VsockHost(loop, {.path = files("none/v")}), Contains("directory does not exist"));
}
