// A console's bytes against readers that are slow, stuck, late or gone, and writers that never stop.
#include "devices/backends/char/char_stream.h"

#include <fcntl.h>

#include <catch2/catch.hpp>
#include <csignal>

#include "tests/support/captured_log.h"
#include "tests/support/descriptors.h"
#include "tests/support/temp_file.h"
#include "tests/support/wait_until.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr size_t kRing = 256 * 1024;
constexpr size_t kMost = 1 << 20;  // more than all buffers together

// The peers come and go as the test says.
class FakeEndpoint : public CharEndpoint {
 public:
  FakeEndpoint(CharPeer peer, std::function<void(CharPeer)>& set_peer, unsigned& lost)
      : peer_(peer), set_peer_(set_peer), lost_(lost) {}
  void start(std::function<void(CharPeer)> on_peer) override {
    on_peer(peer_);
    set_peer_ = std::move(on_peer);
  }
  void peer_lost() override { ++lost_; }

 private:
  CharPeer peer_;
  std::function<void(CharPeer)>& set_peer_;
  unsigned& lost_;
};

struct Fixture {
  explicit Fixture(CharPeer peer, const CharConfig& config = {}) {
    ::signal(SIGPIPE, SIG_IGN);
    stream.emplace(loop, std::make_unique<FakeEndpoint>(peer, set_peer, lost), config);
  }

  size_t write(std::string_view text) { return stream->write(std::as_bytes(std::span(text))); }
  // Writes until nothing has been taken for longer than the stream's pace; returns how much that was.
  size_t write_until_stuck() {
    size_t total = 0;
    size_t before = 1;
    while (total != before) {
      before = total;
      total += write_some(kMost);
      loop.run_ready();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      loop.run_ready();
    }
    return total;
  }
  // False when the stream does not take all of it in ten seconds.
  bool write_all(size_t bytes) {
    return wait_until(loop, [&] { return (bytes -= write_some(bytes)) == 0; });
  }
  size_t write_some(size_t limit) { return write(std::string(limit, 'x')); }
  // The guest takes at most `limit` bytes in all, and appends them to `received`.
  void attach_guest(size_t limit = std::string::npos) {
    stream->set_input([this, limit](std::span<const std::byte> bytes) {
      const size_t length = std::min(bytes.size(), limit - received.size());
      received.append(reinterpret_cast<const char*>(bytes.data()), length);
      return length;
    });
  }

  EventLoop loop;
  std::function<void(CharPeer)> set_peer;
  unsigned lost = 0;
  std::string received;
  std::optional<CharStream> stream;
};

}  // namespace

TEST_CASE("char stream: output reaches the reader in order", "[char]") {
  Pipe pipe;
  Fixture f({-1, pipe.write.get()});
  f.write("one ");
  f.loop.run_ready();
  f.write("two");
  std::string text;
  CHECK(wait_until(f.loop, [&] { return (text += read_available(pipe.read)).size() == 7; }));
  CHECK(text == "one two");
  CHECK(f.stream->stats().sent == 7);
}

TEST_CASE("char stream: a slow reader holds the guest up, and gets everything", "[char]") {
  Pipe pipe;
  Fixture f({-1, pipe.write.get()});
  unsigned writable = 0;
  f.stream->set_on_writable([&] { ++writable; });
  const size_t taken = f.write_until_stuck();
  CHECK(taken < kMost);
  const unsigned before = writable;
  size_t read = 0;
  CHECK(wait_until(f.loop, [&] { return (read += read_available(pipe.read, 65536).size()) == taken; }));
  CHECK(writable == before + 1);
  CHECK(f.stream->stats().dropped == 0);
}

TEST_CASE("char stream: a reader stuck for a second no longer holds the guest up, and finds the newest", "[char]") {
  Pipe pipe;
  TempDirectory dir;
  Fixture f({-1, pipe.write.get()}, {.log_path = dir("log")});
  const size_t before = f.write_until_stuck();
  CHECK(f.write_all(kMost));
  CHECK(wait_until(f.loop, [&] { return f.write("the end") == 7; }));
  std::string text;
  CHECK(wait_until(f.loop, [&] { return (text += read_available(pipe.read)).ends_with("the end"); }));
  CHECK(f.stream->stats().dropped > 0);
  CHECK(text.size() + f.stream->stats().dropped == before + kMost + 7);
  CHECK(contents(dir("log")).size() == before + kMost + 7);
}

TEST_CASE("char stream: a reader that has gone is counted and never waited for", "[char]") {
  Pipe pipe;
  Fixture f({-1, pipe.write.get()});
  pipe.read = UniqueFd();
  CHECK(f.write_all(4 * kMost));
  CHECK(f.stream->stats().errors == 1);
  CHECK(f.lost == 1);
}

TEST_CASE("char stream: with nobody there the newest output is kept for who comes", "[char]") {
  Pipe pipe;
  Fixture f({});
  CHECK(f.write_all(kMost));
  CHECK(f.write_all(7));
  CHECK(wait_until(f.loop, [&] { return f.stream->stats().dropped == kMost + 7 - kRing; }));
  f.set_peer({-1, pipe.write.get()});
  std::string text;
  CHECK(wait_until(f.loop, [&] { return (text += read_available(pipe.read)).size() == kRing; }));
}

TEST_CASE("char stream: a full disk loses output, and only while it is full", "[char]") {
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  CapturedLog log;
  Fixture f({-1, full.get()});
  CHECK(f.write_all(kMost));
  CHECK(f.stream->stats().errors > 0);
  CHECK(f.lost == 0);
  CHECK(wait_until(f.loop, [&] { return f.stream->stats().dropped == kMost; }));
  CHECK(log.lines() ==
        "vmm: console: its output cannot be written and is lost: No space left on device\n"
        "  fix: make room there, or name another place\n");
}

TEST_CASE("char stream: the time stands in front of each line, however it arrives", "[char]") {
  Pipe pipe;
  Fixture f({-1, pipe.write.get()}, {.timestamps = true});
  std::string text;
  f.write("a");
  f.loop.run_ready();
  f.write("b\n\nc\n");
  CHECK(wait_until(f.loop, [&] { return (text += read_available(pipe.read)).ends_with("c\n"); }));
  CHECK_THAT(text, Catch::Matches("\\[ +0\\.[0-9]{3}\\] ab\n\\[ +0\\.[0-9]{3}\\] \n\\[ +0\\.[0-9]{3}\\] c\n"));
}

TEST_CASE("char stream: time stamps lose nothing when the reader is slow", "[char]") {
  Pipe pipe;
  Fixture f({-1, pipe.write.get()}, {.timestamps = true});
  const std::string lines(4096, '\n');
  size_t written = 0;
  size_t taken = lines.size();
  while (taken == lines.size()) {
    taken = f.write(lines);
    written += taken;
    f.loop.run_ready();
  }
  size_t newlines = 0;
  CHECK(wait_until(f.loop, [&] {
    const std::string text = read_available(pipe.read);
    newlines += static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
    return newlines == written;
  }));
  CHECK(f.stream->stats().dropped == 0);
}

TEST_CASE("char stream: a log gets a copy, after what it held before", "[char]") {
  TempDirectory dir;
  const std::string path = dir("log");
  std::ofstream(path) << "before\n";
  Fixture f({}, {.log_path = path});
  f.write("after\n");
  f.loop.run_ready();
  CHECK(contents(path) == "before\nafter\n");
}

TEST_CASE("char stream: a log that cannot be opened is refused with words", "[char]") {
  EventLoop loop;
  std::function<void(CharPeer)> set_peer;
  unsigned lost = 0;
  const auto open = [&] {
    CharStream(loop, std::make_unique<FakeEndpoint>(CharPeer{}, set_peer, lost), {.log_path = "/nowhere/log"});
  };
  CHECK_THROWS_WITH(open(), Catch::Contains("/nowhere/log"));
}

TEST_CASE("char stream: a log on a full disk is counted and holds nothing up", "[char]") {
  CapturedLog log;
  Fixture f({}, {.log_path = "/dev/full"});
  CHECK(f.write_all(kMost));
  CHECK(f.stream->stats().errors > 0);
  CHECK_THAT(log.lines(), Catch::Contains("console: its log cannot be written and is lost: No space left on device"));
}

TEST_CASE("char stream: the observer sees all output in order", "[char]") {
  Pipe pipe;
  Fixture f({-1, pipe.write.get()});
  std::string seen;
  f.stream->set_observer([&](std::span<const std::byte> bytes) {
    seen.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  f.write("one ");
  f.loop.run_ready();
  f.write("two");
  CHECK(wait_until(f.loop, [&] { return seen == "one two"; }));
}

TEST_CASE("char stream: flush brings everything to a reader without the loop", "[char]") {
  Pipe pipe;
  Fixture f({-1, pipe.write.get()});
  f.write("the end");
  f.stream->flush(std::chrono::seconds(1));
  CHECK(read_available(pipe.read) == "the end");
}

TEST_CASE("char stream: flush gives a stuck reader up at its limit, and the log has the last words", "[char]") {
  Pipe pipe;
  TempDirectory dir;
  Fixture f({-1, pipe.write.get()}, {.log_path = dir("log")});
  f.write_until_stuck();
  CapturedLog log;
  f.stream->flush(std::chrono::milliseconds(10));
  CHECK(log.lines() == "vmm: console: its reader did not take all of the output within 10 ms\n");
  f.write("the end");
  f.stream->flush(std::chrono::milliseconds(10));
  CHECK(contents(dir("log")).ends_with("the end"));
}

TEST_CASE("char stream: flush with nobody there does not wait", "[char]") {
  TempDirectory dir;
  Fixture f({}, {.log_path = dir("log")});
  f.write("the end");
  const auto start = std::chrono::steady_clock::now();
  f.stream->flush(std::chrono::seconds(10));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  CHECK(contents(dir("log")) == "the end");
}

TEST_CASE("char stream: input reaches the guest in order", "[char]") {
  SocketPair pair;
  Fixture f({pair.ours.get(), pair.ours.get()});
  f.attach_guest();
  CHECK(::write(pair.theirs.get(), "keys", 4) == 4);
  CHECK(wait_until(f.loop, [&] { return f.received == "keys"; }));
}

TEST_CASE("char stream: a paste without end is read only as far as the guest takes it", "[char]") {
  Pipe pipe;
  Fixture f({pipe.read.get(), -1});
  f.attach_guest(1000);
  size_t pasted = 0;
  size_t now = 1;
  while (now > 0) {  // until neither pipe nor stream takes more
    now = fill(pipe.write, kMost);
    pasted += now;
    f.loop.run_ready();
  }
  CHECK(pasted <= 1000 + 64 * 1024 + 64 * 1024 + 4096);
  CHECK(f.received.size() == 1000);
}

TEST_CASE("char stream: a hundred megabytes are pasted through a guest that takes pages", "[char]") {
  constexpr size_t kPaste = 100'000'000;
  Pipe pipe;
  Fixture f({pipe.read.get(), -1});
  size_t received = 0;
  f.stream->set_input([&](std::span<const std::byte> bytes) {
    const size_t length = std::min<size_t>(bytes.size(), 4096);
    received += length;
    f.stream->resume_input();
    return length;
  });
  size_t pasted = 0;
  while (pasted < kPaste) {
    pasted += fill(pipe.write, 65536);
    f.loop.run_ready();
  }
  CHECK(wait_until(f.loop, [&] { return received == pasted; }));
}

TEST_CASE("char stream: refused input is offered again when the guest asks", "[char]") {
  Pipe pipe;
  Fixture f({pipe.read.get(), -1});
  size_t room = 2;
  f.stream->set_input([&](std::span<const std::byte> bytes) {
    const size_t length = std::min(bytes.size(), room);
    f.received.append(reinterpret_cast<const char*>(bytes.data()), length);
    room -= length;
    return length;
  });
  CHECK(::write(pipe.write.get(), "keys", 4) == 4);
  CHECK(wait_until(f.loop, [&] { return f.received == "ke"; }));
  room = 10;
  f.loop.run_ready();
  CHECK(f.received == "ke");
  f.stream->resume_input();
  f.loop.run_ready();
  CHECK(f.received == "keys");
}

TEST_CASE("char stream: input that comes before the guest waits for it", "[char]") {
  Pipe pipe;
  Fixture f({pipe.read.get(), -1});
  CHECK(::write(pipe.write.get(), "keys", 4) == 4);
  f.loop.run_ready();
  f.attach_guest();
  CHECK(wait_until(f.loop, [&] { return f.received == "keys"; }));
}

TEST_CASE("char stream: the filter works on keys although the guest is stuck", "[char]") {
  Pipe pipe;
  Fixture f({pipe.read.get(), -1});
  std::string keys;
  f.stream->set_filter([&](std::span<const std::byte> arrived, const CharStream::Receiver& to_guest) {
    keys.append(reinterpret_cast<const char*>(arrived.data()), arrived.size());
    to_guest(arrived.first(1));
  });
  f.attach_guest(0);
  CHECK(::write(pipe.write.get(), "keys", 4) == 4);
  CHECK(wait_until(f.loop, [&] { return keys == "keys"; }));
  f.attach_guest();
  CHECK(wait_until(f.loop, [&] { return f.received == "k"; }));
}

TEST_CASE("char stream: the end of input leaves the output as it is", "[char]") {
  Pipe in;
  Pipe out;
  Fixture f({in.read.get(), out.write.get()});
  in.write = UniqueFd();
  CHECK(wait_until(f.loop, [&] { return f.lost == 1; }));
  f.write("still here");
  CHECK(wait_until(f.loop, [&] { return read_available(out.read) == "still here"; }));
}

TEST_CASE("char stream: one that is gone is not called by the loop any more", "[char]") {
  Pipe pipe;
  Fixture f({pipe.read.get(), -1});
  f.attach_guest();
  f.write("x");
  f.stream->resume_input();
  f.stream.reset();
  f.loop.run_ready();
  CHECK(f.received.empty());
}

TEST_CASE("char stream: with no descriptor left for its watches it goes on, slowly", "[char]") {
  SocketPair pair;
  Fixture f({});
  f.attach_guest();
  const NoDescriptorsLeft none;
  f.set_peer({pair.ours.get(), pair.ours.get()});
  f.write("out");
  CHECK(wait_until(f.loop, [&] { return read_available(pair.theirs) == "out"; }));
  CHECK(::write(pair.theirs.get(), "in", 2) == 2);
  CHECK(wait_until(f.loop, [&] { return f.received == "in"; }));
}
