// Requests and replies over one connection, whatever its other end does.
#include "devices/backends/vhost/vhost_user_channel.h"

#include <sys/socket.h>

#include <catch2/catch.hpp>

#include "tests/support/unix_ends.h"
#include "tests/support/wait_until.h"

using namespace vmm;
using namespace vmm::test;

namespace {

struct Fixture {
  explicit Fixture(std::chrono::milliseconds patience = std::chrono::hours(1))
      : channel(loop, std::move(ends.ours), patience, [this](const std::string& reason) {
          ++losses;
          why = reason;
        }) {}

  static Task<void> ask(VhostUserChannel& channel, uint32_t request, int& answer) {
    const auto reply = co_await channel.ask(request, {});
    answer = reply ? static_cast<int>(reply->value<uint64_t>().value_or(1000)) : -1;
  }
  void answer(uint32_t request, uint64_t value) {
    const auto bytes = encode_vhost_user(request, VhostUserHeader::kReply, payload_of(value));
    ends.host.send({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }

  EventLoop loop;
  StreamPair ends;
  unsigned losses = 0;
  std::string why;
  VhostUserChannel channel;
};

}  // namespace

TEST_CASE("vhost-user channel: replies find those who wait, in order", "[vhost-user]") {
  Fixture f;
  int first = 0, second = 0;
  f.loop.spawn(Fixture::ask(f.channel, VHOST_USER_GET_FEATURES, first));
  f.loop.spawn(Fixture::ask(f.channel, VHOST_USER_GET_QUEUE_NUM, second));
  f.loop.run_ready();
  CHECK(f.ends.host.receive().size() == 2 * sizeof(VhostUserHeader));
  f.answer(VHOST_USER_GET_FEATURES, 11);
  f.answer(VHOST_USER_GET_QUEUE_NUM, 22);
  f.loop.run_ready();
  CHECK(first == 11);
  CHECK(second == 22);
  CHECK_FALSE(f.channel.lost());
}

TEST_CASE("vhost-user channel: silence has a limit, and all who wait go on", "[vhost-user]") {
  Fixture f(std::chrono::milliseconds(200));
  int first = 0, second = 0, third = 0;
  f.loop.spawn(Fixture::ask(f.channel, VHOST_USER_GET_FEATURES, first));
  f.loop.spawn(Fixture::ask(f.channel, VHOST_USER_GET_FEATURES, second));
  CHECK(wait_until(f.loop, [&] { return f.losses == 1; }));
  CHECK(f.why == "it did not answer for 0.2 s");
  f.loop.spawn(Fixture::ask(f.channel, VHOST_USER_GET_FEATURES, third));
  CHECK(std::array{first, second, third} == std::array{-1, -1, -1});
  CHECK(f.ends.host.ended());
}

TEST_CASE("vhost-user channel: a reply that nobody awaits loses it", "[vhost-user]") {
  Fixture f;
  f.answer(VHOST_USER_GET_FEATURES, 1);
  CHECK(wait_until(f.loop, [&] { return f.losses == 1; }));
  CHECK(f.why == "it answered request 1, which was not asked");
}

TEST_CASE("vhost-user channel: what does not fit into the socket is sent later, whole and in order", "[vhost-user]") {
  Fixture f;
  const std::vector<std::byte> payload(400);
  constexpr size_t kMessages = 5000;
  for (size_t i = 0; i < kMessages; ++i) f.channel.tell(VHOST_USER_SET_CONFIG, payload);
  std::string received;
  CHECK(wait_until(f.loop, [&] {
    received += f.ends.host.receive();
    return received.size() == kMessages * (sizeof(VhostUserHeader) + payload.size());
  }));
  CHECK(received.substr(received.size() - 412, 1) == "\x19");
}

TEST_CASE("vhost-user channel: what is told anew takes the place of what was not sent yet", "[vhost-user]") {
  Fixture f;
  constexpr uint64_t kTimes = 100'000;  // more than fit into a socket
  for (uint64_t i = 1; i <= kTimes; ++i) f.channel.tell_latest(VHOST_USER_SET_CONFIG, payload_of(i));
  std::string all;
  const auto read = [&] {
    const std::string part = f.ends.host.receive();
    all += part;
    f.loop.run_ready();
    return !part.empty();
  };
  while (read()) continue;
  constexpr size_t kMessage = sizeof(VhostUserHeader) + sizeof(uint64_t);
  REQUIRE(all.size() % kMessage == 0);
  CHECK(all.size() / kMessage < kTimes / 2);
  uint64_t last = 0;
  std::memcpy(&last, all.data() + all.size() - sizeof last, sizeof last);
  CHECK(last == kTimes);
}
