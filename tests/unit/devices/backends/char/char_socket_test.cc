// Consoles on listening sockets: who may connect, who waits, and what is left behind.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>

#include "devices/backends/char/char_stream.h"
#include "tests/support/descriptors.h"
#include "tests/support/temp_file.h"
#include "tests/support/wait_until.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;

namespace {

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

UniqueFd connect_unix(const std::string& path) {
  UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const sockaddr_un address = unix_address(path);
  if (::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) return UniqueFd();
  return client;
}

UniqueFd bind_unix(const std::string& path, int type = SOCK_STREAM) {
  UniqueFd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  const sockaddr_un address = unix_address(path);
  ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  return socket;
}

struct Fixture {
  Fixture() {
    ::signal(SIGPIPE, SIG_IGN);
    open();
  }
  void open() { stream = open_char_stream(loop, {.kind = CharConfig::Kind::kUnix, .path = path}); }
  void write(std::string_view text) { stream->write(std::as_bytes(std::span(text))); }
  bool reads(const UniqueFd& client, const std::string& text) {
    std::string got;
    return wait_until(loop, [&] { return (got += read_available(client)).size() >= text.size(); }) && got == text;
  }

  TempDirectory dir;
  std::string path = dir("console");
  EventLoop loop;
  std::unique_ptr<CharStream> stream;
};

// An option of the socket at the other end of `client`, which is in this process too; 0 when there is none.
int option_of_peer(const UniqueFd& client, int level, int option) {
  sockaddr_in ours = {}, theirs = {};
  socklen_t length = sizeof ours;
  ::getsockname(client.get(), reinterpret_cast<sockaddr*>(&ours), &length);
  for (int fd = 3; fd < 1024; ++fd) {
    length = sizeof theirs;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&theirs), &length) < 0 || length != sizeof theirs) continue;
    if (theirs.sin_family != AF_INET || theirs.sin_port != ours.sin_port) continue;
    int value = 0;
    length = sizeof value;
    ::getsockopt(fd, level, option, &value, &length);
    return value;
  }
  return 0;
}

}  // namespace

TEST_CASE("char unix: a client gets the output so far, then what follows, and is heard", "[char]") {
  Fixture f;
  f.write("boot log, ");
  f.loop.run_ready();
  const UniqueFd client = connect_unix(f.path);
  CHECK(f.reads(client, "boot log, "));
  f.write("prompt");
  CHECK(f.reads(client, "prompt"));
  std::string received;
  f.stream->set_input([&](std::span<const std::byte> bytes) {
    received.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return bytes.size();
  });
  CHECK(::write(client.get(), "keys", 4) == 4);
  CHECK(wait_until(f.loop, [&] { return received == "keys"; }));
}

TEST_CASE("char unix: what is printed between two clients is kept for the second", "[char]") {
  Fixture f;
  UniqueFd first = connect_unix(f.path);
  f.write("one");
  CHECK(f.reads(first, "one"));
  first = UniqueFd();
  f.loop.run_ready();
  f.write("two");
  f.loop.run_ready();
  const UniqueFd second = connect_unix(f.path);
  CHECK(f.reads(second, "two"));
}

TEST_CASE("char unix: a second client waits until the first has gone", "[char]") {
  Fixture f;
  UniqueFd first = connect_unix(f.path);
  f.loop.run_ready();
  const UniqueFd second = connect_unix(f.path);
  CHECK(second);
  f.write("one");
  CHECK(f.reads(first, "one"));
  CHECK(read_available(second).empty());
  first = UniqueFd();
  f.loop.run_ready();
  f.write("two");
  CHECK(f.reads(second, "two"));
}

TEST_CASE("char unix: clients that come and go a thousand times leave no descriptor behind", "[char]") {
  Fixture f;
  const int before = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  ::close(before);
  for (int i = 0; i < 1000; ++i) {
    connect_unix(f.path);
    f.loop.run_ready();
  }
  const int after = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  ::close(after);
  CHECK(after == before);
}

TEST_CASE("char unix: only the owner may connect", "[char]") {
  Fixture f;
  struct stat status = {};
  CHECK(::stat(f.path.c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0600);
}

TEST_CASE("char unix: the file of a program that died is replaced, and ours is removed in the end", "[char]") {
  Fixture f;
  f.stream.reset();
  CHECK_FALSE(std::filesystem::exists(f.path));
  bind_unix(f.path);
  CHECK(std::filesystem::exists(f.path));
  f.open();
  CHECK(connect_unix(f.path));
}

TEST_CASE("char unix: a path on which somebody listens is refused", "[char]") {
  const int type = GENERATE(SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET);
  Fixture f;
  f.stream.reset();
  const UniqueFd other = bind_unix(f.path, type);
  ::listen(other.get(), 1);
  CHECK_THROWS_WITH(f.open(), Catch::Contains("another program listens there"));
  CHECK(std::filesystem::exists(f.path));
}

TEST_CASE("char unix: a file that is no socket is refused and kept", "[char]") {
  Fixture f;
  f.stream.reset();
  std::ofstream(f.path) << "precious";
  CHECK_THROWS_WITH(f.open(), Catch::Contains("is no socket"));
  CHECK(contents(f.path) == "precious");
}

TEST_CASE("char unix: a path that is too long, or leads nowhere, is refused with words", "[char]") {
  EventLoop loop;
  const std::string path = GENERATE(std::string(108, 'x'), std::string("/nowhere/socket"));
  const CharConfig config{.kind = CharConfig::Kind::kUnix, .path = path};
  CHECK_THROWS_WITH(open_char_stream(loop, config), Catch::Contains(path));
}

TEST_CASE("char unix: with no descriptor left a client waits, and the loop does not spin", "[char]") {
  Fixture f;
  const UniqueFd client = connect_unix(f.path);
  {
    const NoDescriptorsLeft none;
    f.loop.run_ready();
    CHECK(f.loop.run_ready() == 0);
  }
  f.write("hello");
  CHECK(f.reads(client, "hello"));
}

TEST_CASE("char tcp: a client is served on the address, and a taken one is refused", "[char]") {
  EventLoop loop;
  // The kernel chooses a port that is free.
  UniqueFd probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t length = sizeof address;
  CHECK(::bind(probe.get(), generic, length) == 0);
  CHECK(::listen(probe.get(), 1) == 0);
  CHECK(::getsockname(probe.get(), generic, &length) == 0);
  const CharConfig config{
      .kind = CharConfig::Kind::kTcp, .host = "127.0.0.1", .port = std::to_string(ntohs(address.sin_port))};
  CHECK_THROWS_WITH(open_char_stream(loop, config), Catch::Contains("port " + config.port));
  probe = UniqueFd();

  const auto stream = open_char_stream(loop, config);
  const UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK(::connect(client.get(), generic, length) == 0);
  ::fcntl(client.get(), F_SETFL, O_NONBLOCK);
  const std::string_view text = "hello";
  stream->write(std::as_bytes(std::span(text)));
  CHECK(wait_until(loop, [&] { return read_available(client) == "hello"; }));
  // A client that vanishes without a word is found out.
  CHECK(option_of_peer(client, SOL_SOCKET, SO_KEEPALIVE) == 1);
  CHECK(option_of_peer(client, IPPROTO_TCP, TCP_KEEPIDLE) <= 30);
  CHECK(option_of_peer(client, IPPROTO_TCP, TCP_USER_TIMEOUT) > 0);
}

TEST_CASE("char tcp: a host that is not ours is refused with words", "[char]") {
  EventLoop loop;
  const CharConfig config{.kind = CharConfig::Kind::kTcp, .host = "192.0.2.1", .port = "1"};
  CHECK_THROWS_WITH(open_char_stream(loop, config), Catch::Contains("192.0.2.1"));
  try {
    open_char_stream(loop, config);
  } catch (const Error& error) {
    CHECK_FALSE(error.fix().empty());
  }
}
