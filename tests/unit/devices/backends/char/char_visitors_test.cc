// Visitors of a console: what they see and type, and that none of them holds anybody up.
#include "devices/backends/char/char_visitors.h"

#include <catch2/catch.hpp>

#include "tests/support/unix_ends.h"
#include "tests/support/wait_until.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;

namespace {

// Nobody is at the console itself.
class NobodyThere : public CharEndpoint {
 public:
  void start(std::function<void(CharPeer)>) override {}
};

struct Fixture {
  HostEnd visitor(std::string_view typed = {}) {
    StreamPair pair;
    visitors.admit(std::move(pair.ours), typed);
    return std::move(pair.host);
  }
  bool print(const std::string& text) {
    size_t done = 0;
    return wait_until(
        loop, [&] { return (done += stream.write(std::as_bytes(std::span(text)).subspan(done))) == text.size(); });
  }
  // All of it, as soon as it ends so.
  std::string seen(HostEnd& visitor, const std::string& end) {
    std::string text;
    wait_until(loop, [&] { return (text += visitor.receive()).ends_with(end); });
    return text;
  }
  // The guest takes at most so many bytes in all.
  void attach_guest(size_t limit = std::string::npos) {
    stream.set_input([this, limit](std::span<const std::byte> bytes) {
      const size_t length = std::min(bytes.size(), limit - received.size());
      received.append(reinterpret_cast<const char*>(bytes.data()), length);
      return length;
    });
  }
  // Types until no more is taken; returns how much that was.
  size_t type_until_stuck(const HostEnd& visitor) {
    size_t total = 0;
    for (size_t sent = 1; sent > 0;) {
      sent = visitor.send(std::string(4096, 'x'));
      total += sent;
      for (int turn = 0; turn < 20; ++turn) loop.run_ready();
    }
    return total;
  }

  EventLoop loop;
  CharStream stream{loop, std::make_unique<NobodyThere>(), {}};
  CharVisitors visitors{loop, stream};
  std::string received;
};

}  // namespace

TEST_CASE("visitors: all see what the guest prints from then on", "[char][visitors]") {
  Fixture f;
  REQUIRE(f.print("before\n"));
  f.loop.run_ready();
  HostEnd first = f.visitor(), second = f.visitor();
  REQUIRE(f.print("after\n"));
  CHECK(f.seen(first, "after\n") == "after\n");
  CHECK(f.seen(second, "after\n") == "after\n");
}

TEST_CASE("visitors: what any of them types comes to the guest", "[char][visitors]") {
  Fixture f;
  f.attach_guest();
  const HostEnd first = f.visitor("ls"), second = f.visitor();
  CHECK(wait_until(f.loop, [&] { return f.received == "ls"; }));
  first.send(" -l");
  CHECK(wait_until(f.loop, [&] { return f.received == "ls -l"; }));
  second.send("\r");
  CHECK(wait_until(f.loop, [&] { return f.received == "ls -l\r"; }));
}

TEST_CASE("visitors: one who goes is forgotten, the others stay", "[char][visitors]") {
  Fixture f;
  HostEnd first = f.visitor(), second = f.visitor();
  first.close();
  CHECK(wait_until(f.loop, [&] { return f.visitors.count() == 1; }));
  REQUIRE(f.print("x\n"));
  CHECK(f.seen(second, "x\n") == "x\n");
}

TEST_CASE("visitors: one who does not read holds nobody up, and is told what is missing", "[char][visitors]") {
  constexpr size_t kMuch = size_t{4} << 20;
  Fixture f;
  HostEnd slow = f.visitor(), quick = f.visitor();
  std::string seen;
  for (size_t printed = 0; printed < kMuch; printed += 65536) {
    REQUIRE(f.print(std::string(65536, 'y')));
    REQUIRE(wait_until(f.loop, [&] { return (seen += quick.receive()).size() == printed + 65536; }));
  }
  REQUIRE(f.print("end\n"));
  const std::string late = f.seen(slow, "end\n");
  CHECK(late.size() < kMuch);
  CHECK_THAT(late, Contains("bytes are missing here") && EndsWith("yend\n"));
  CHECK(f.seen(quick, "end\n") == "end\n");
}

TEST_CASE("visitors: who types more than the guest takes is not read, and nothing is lost", "[char][visitors]") {
  Fixture f;
  f.attach_guest(10);
  const HostEnd visitor = f.visitor();
  const size_t typed = f.type_until_stuck(visitor);
  CHECK(f.received.size() == 10);
  f.attach_guest();
  CHECK(wait_until(f.loop, [&] { return f.received.size() == typed; }));
}

TEST_CASE("visitors: the one too many is sent away", "[char][visitors]") {
  Fixture f;
  std::vector<HostEnd> there;
  for (size_t i = 0; i < CharVisitors::kMost; ++i) there.push_back(f.visitor());
  HostEnd late = f.visitor();
  CHECK(wait_until(f.loop, [&] { return late.ended(); }));
  CHECK(f.visitors.count() == CharVisitors::kMost);
}
