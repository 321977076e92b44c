// Standard streams, files and pseudo-terminals as a console's other end. Each test has streams of its own.
#include "devices/backends/char/char_endpoint.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <csignal>

#include "devices/backends/char/char_stream.h"
#include "tests/support/descriptors.h"
#include "tests/support/temp_file.h"
#include "tests/support/wait_until.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"

using namespace vmm;
using namespace vmm::test;

namespace {

// One of the process's standard streams is another descriptor for a while.
class Replaced {
 public:
  Replaced(int stream, const UniqueFd& with) : stream_(stream), before_(::fcntl(stream, F_DUPFD_CLOEXEC, 3)) {
    ::dup2(with.get(), stream);
  }
  Replaced(const Replaced&) = delete;
  Replaced& operator=(const Replaced&) = delete;
  ~Replaced() { ::dup2(before_.get(), stream_); }

 private:
  int stream_;
  UniqueFd before_;
};

bool non_blocking(const UniqueFd& fd) { return (::fcntl(fd.get(), F_GETFL) & O_NONBLOCK) != 0; }
void make_blocking(const UniqueFd& fd) { ::fcntl(fd.get(), F_SETFL, 0); }

size_t write(CharStream& stream, std::string_view text) { return stream.write(std::as_bytes(std::span(text))); }

std::string take_input(EventLoop& loop, CharStream& stream, size_t length) {
  std::string received;
  stream.set_input([&](std::span<const std::byte> bytes) {
    received.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return bytes.size();
  });
  wait_until(loop, [&] { return received.size() >= length; });
  stream.set_input(nullptr);
  return received;
}

std::unique_ptr<CharStream> open_stdio(EventLoop& loop, const UniqueFd& in, const UniqueFd& out) {
  const Replaced input(STDIN_FILENO, in);
  const Replaced output(STDOUT_FILENO, out);
  return open_char_stream(loop, {.kind = CharConfig::Kind::kStdio});
}

}  // namespace

TEST_CASE("char stdio: pipes work both ways and stay blocking for those who share them", "[char]") {
  EventLoop loop;
  Pipe in;
  Pipe out;
  make_blocking(in.read);
  make_blocking(out.write);
  const auto stream = open_stdio(loop, in.read, out.write);
  CHECK_FALSE(non_blocking(in.read));
  CHECK_FALSE(non_blocking(out.write));
  write(*stream, "out");
  CHECK(wait_until(loop, [&] { return read_available(out.read) == "out"; }));
  CHECK(::write(in.write.get(), "in", 2) == 2);
  CHECK(take_input(loop, *stream, 2) == "in");
}

TEST_CASE("char stdio: a pipe that nobody reads never blocks the writer", "[char]") {
  EventLoop loop;
  Pipe in;
  Pipe out;
  make_blocking(out.write);
  const auto stream = open_stdio(loop, in.read, out.write);
  for (int i = 0; i < 200; ++i) {
    write(*stream, std::string(4096, 'x'));
    loop.run_ready();
  }
  CHECK_FALSE(non_blocking(out.write));
}

TEST_CASE("char stdio: a socket, which cannot be opened anew, gets its flags back", "[char]") {
  EventLoop loop;
  SocketPair pair;
  make_blocking(pair.ours);
  auto stream = open_stdio(loop, pair.ours, pair.ours);
  CHECK(non_blocking(pair.ours));
  write(*stream, "out");
  CHECK(wait_until(loop, [&] { return read_available(pair.theirs) == "out"; }));
  stream.reset();
  loop.run_ready();
  CHECK_FALSE(non_blocking(pair.ours));
}

TEST_CASE("char stdio: output into a file goes on where the file's position is", "[char]") {
  EventLoop loop;
  TempDirectory dir;
  const UniqueFd file(::open(dir("out").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  CHECK(::write(file.get(), "before ", 7) == 7);
  const UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  auto stream = open_stdio(loop, nothing, file);
  write(*stream, "ours ");
  stream->flush(std::chrono::seconds(1));
  stream.reset();
  CHECK(::write(file.get(), "after", 5) == 5);
  CHECK(contents(dir("out")) == "before ours after");
  CHECK_FALSE(non_blocking(file));
}

TEST_CASE("char stdio: the end of input and of the reader leave the console without a peer, not spinning", "[char]") {
  ::signal(SIGPIPE, SIG_IGN);
  EventLoop loop;
  Pipe in;
  Pipe out;
  const auto stream = open_stdio(loop, in.read, out.write);
  in.write = UniqueFd();
  out.read = UniqueFd();
  write(*stream, "x");
  CHECK(wait_until(loop, [&] { return stream->stats().errors == 1; }));
  write(*stream, "y");
  loop.run_ready();
  CHECK(loop.run_ready() == 0);
  CHECK(stream->stats().errors == 1);
}

TEST_CASE("char stdio: a closed stream is refused with words", "[char]") {
  EventLoop loop;
  const Replaced kept(STDIN_FILENO, UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
  ::close(STDIN_FILENO);
  CHECK_THROWS_WITH(open_char_stream(loop, {.kind = CharConfig::Kind::kStdio}), Catch::Contains("descriptor 0"));
}

TEST_CASE("char file: is created or emptied, and gets the output", "[char]") {
  EventLoop loop;
  TempDirectory dir;
  std::ofstream(dir("console")) << "what was there before";
  const auto stream = open_char_stream(loop, {.kind = CharConfig::Kind::kFile, .path = dir("console")});
  write(*stream, "output");
  loop.run_ready();
  CHECK(contents(dir("console")) == "output");
}

TEST_CASE("char file: one that cannot be written is refused with words, at once", "[char]") {
  EventLoop loop;
  TempDirectory dir;
  const std::string fifo = dir("fifo");
  ::mkfifo(fifo.c_str(), 0600);
  const std::string path = GENERATE_COPY(std::string("/nowhere/x"), std::string("/"), fifo);
  CHECK_THROWS_WITH(open_char_stream(loop, {.kind = CharConfig::Kind::kFile, .path = path}), Catch::Contains(path));
}

TEST_CASE("char pty: works both ways, raw, and lives on when its user leaves", "[char]") {
  EventLoop loop;
  Pipe log;
  set_log_fd(log.write.get());
  const auto stream = open_char_stream(loop, {.kind = CharConfig::Kind::kPty});
  set_log_fd(STDERR_FILENO);
  const std::string line = read_available(log.read);
  const std::string path = line.substr(line.find("/dev/"), line.size() - line.find("/dev/") - 1);
  for (const char* const text : {"first\n", "second\n"}) {
    const UniqueFd user(::open(path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    write(*stream, text);
    CHECK(wait_until(loop, [&] { return read_available(user) == text; }));
    CHECK(::write(user.get(), "key\r", 4) == 4);
    CHECK(take_input(loop, *stream, 4) == "key\r");
  }
  CHECK(stream->stats().errors == 0);
}

TEST_CASE("char pty: output that nobody reads does not hold the loop up", "[char]") {
  EventLoop loop;
  set_log_level(LogLevel::kError);
  const auto stream = open_char_stream(loop, {.kind = CharConfig::Kind::kPty});
  set_log_level(LogLevel::kInfo);
  for (int i = 0; i < 100; ++i) {
    write(*stream, std::string(4096, 'x'));
    loop.run_ready();
  }
  CHECK(stream->stats().sent < 100 * 4096);
}

TEST_CASE("char null: takes everything", "[char]") {
  EventLoop loop;
  const auto stream = open_char_stream(loop, {.kind = CharConfig::Kind::kNull});
  CHECK(write(*stream, "x") == 1);
}
