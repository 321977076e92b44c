// A host that is slow, half closed, or gone.
#include "devices/backends/vsock/vsock_stream.h"

#include <array>
#include <catch2/catch.hpp>

#include "tests/support/unix_ends.h"
#include "tests/support/wait_until.h"

using namespace vmm;
using namespace vmm::test;

namespace {

struct Fixture {
  Fixture() {
    stream.set_on_event(
        [this](VsockStream::Event event) { ++(event == VsockStream::Event::kInput ? inputs : outputs); });
  }
  std::optional<std::string> read() {
    std::array<std::byte, 100> room{};
    const auto length = stream.read(room);
    if (!length) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(room.data()), *length);
  }
  void write(const std::string& text) { stream.write(std::as_bytes(std::span(text))); }

  EventLoop loop;
  StreamPair pair;
  HostEnd& host = pair.host;
  VsockStream stream{loop, std::move(pair.ours)};
  unsigned inputs = 0;
  unsigned outputs = 0;
};

}  // namespace

TEST_CASE("vsock stream: tells of input once for each time that there was none", "[vsock]") {
  Fixture f;
  CHECK(f.read() == "");
  f.host.send("hello");
  REQUIRE(wait_until(f.loop, [&] { return f.inputs == 1; }));
  f.host.send(" again");
  f.loop.run_ready();
  CHECK(f.inputs == 1);
  CHECK(f.read() == "hello again");
}

TEST_CASE("vsock stream: keeps what the host does not take, and gives it in order", "[vsock]") {
  Fixture f;
  std::string sent, received;
  while (f.stream.buffered() == 0) {
    sent += std::string(1000, static_cast<char>('a' + sent.size() % 23));
    f.write(sent.substr(sent.size() - 1000));
  }
  f.write("the end");
  f.stream.end_output();
  REQUIRE(wait_until(f.loop, [&] {
    received += f.host.receive();
    return f.host.ended();
  }));
  CHECK(received == sent + "the end");
  CHECK(f.outputs > 0);
  CHECK(f.stream.buffered() == 0);
}

TEST_CASE("vsock stream: a half-closed host still takes, a closed one does not", "[vsock]") {
  Fixture f;
  f.host.send("last");
  f.host.end_output();
  CHECK(f.read() == "last");
  CHECK(f.read() == std::nullopt);
  CHECK_FALSE(f.stream.closed());
  f.write("thanks");
  CHECK(f.host.receive() == "thanks");
  f.host.close();
  CHECK(f.stream.closed());
  f.write("anybody?");
  CHECK(f.stream.broken());
  CHECK(f.stream.buffered() == 0);
}

TEST_CASE("vsock stream: may be destroyed by its own event", "[vsock]") {
  EventLoop loop;
  StreamPair pair;
  auto stream = std::make_unique<VsockStream>(loop, std::move(pair.ours));
  stream->set_on_event([&](VsockStream::Event) { stream.reset(); });
  std::array<std::byte, 1> room{};
  CHECK(stream->read(room) == 0);
  pair.host.send("x");
  CHECK(wait_until(loop, [&] { return stream == nullptr; }));
}
