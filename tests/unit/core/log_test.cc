// Log lines to readers that read, do not read, and are gone.
#include "vmm/core/log.h"

#include <poll.h>
#include <pty.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <future>
#include <thread>

#include "tests/support/captured_log.h"
#include "tests/support/descriptors.h"

using namespace vmm;
using namespace vmm::test;

namespace {

// A terminal that nobody reads, with room for some bytes but not for a long line.
struct StalledTerminal {
  StalledTerminal() {
    std::array<int, 2> ends{-1, -1};
    termios mode{};
    ::cfmakeraw(&mode);
    REQUIRE(::openpty(&ends[0], &ends[1], nullptr, &mode, nullptr) == 0);
    reader = UniqueFd(ends[0]);
    writer = UniqueFd(ends[1]);
    ::fcntl(reader.get(), F_SETFL, O_NONBLOCK);
    ::fcntl(writer.get(), F_SETFL, O_NONBLOCK);
    fill(writer);
    std::array<char, 64> few;
    pollfd room{writer.get(), POLLOUT, 0};
    while (::poll(&room, 1, 1) == 0 && ::read(reader.get(), few.data(), few.size()) > 0) {
    }
    ::fcntl(writer.get(), F_SETFL, 0);
  }
  // The kernel hands over what was written by and by.
  std::string read_all() const {
    std::string text;
    for (pollfd more{reader.get(), POLLIN, 0}; ::poll(&more, 1, 500) > 0;) text += read_available(reader);
    return text;
  }
  UniqueFd reader;
  UniqueFd writer;
};

// While it lives, standard error goes into a pipe.
struct CapturedStandardError {
  CapturedStandardError() : before(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)) {
    ::dup2(pipe.write.get(), STDERR_FILENO);
  }
  CapturedStandardError(const CapturedStandardError&) = delete;
  CapturedStandardError& operator=(const CapturedStandardError&) = delete;
  ~CapturedStandardError() { ::dup2(before.get(), STDERR_FILENO); }
  std::string text() const { return read_available(pipe.read); }

  Pipe pipe;
  UniqueFd before;
};

}  // namespace

TEST_CASE("log: a line says whose it is, and a fix below it does not", "[core]") {
  CapturedLog f;
  log_error("cannot open '{}'", "x");
  log_error("  fix: open it");
  CHECK(f.lines() == "vmm: cannot open 'x'\n  fix: open it\n");
}

TEST_CASE("log: what cannot go to a full log goes to standard error", "[core]") {
  const CapturedStandardError standard_error;
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  set_log_fd(full.get());
  log_error("the cause");
  log_text("  | last words\n");
  CapturedLog log;
  log_error("more");
  CHECK(standard_error.text() == "vmm: the cause\n  | last words\n");
  CHECK(log.lines() == "vmm: more (2 log lines were lost before this one)\n");
}

TEST_CASE("log: only what the level asks for is printed", "[core]") {
  CapturedLog f;
  log_info("info");
  log_debug("debug");
  set_log_level(LogLevel::kError);
  log_warn("warn");
  set_log_level(LogLevel::kDebug);
  log_debug("debug {}", 2);
  CHECK(f.lines() == "vmm: info\nvmm: debug 2\n");
}

TEST_CASE("log: a long line is cut and still ends", "[core]") {
  CapturedLog f;
  log_info("{}", std::string(10'000, 'x'));
  log_info("next");
  const std::string lines = f.lines();
  CHECK(lines.find('\n') == 4095);
  CHECK(lines.substr(4096) == "vmm: next\n");
}

TEST_CASE("log: a full pipe loses lines, counts them, and never blocks", "[core]") {
  CapturedLog f;
  fill(f.pipe.write);
  ::fcntl(f.pipe.write.get(), F_SETFL, 0);
  log_info("lost");
  log_info("lost as well");
  f.lines();
  log_info("here");
  CHECK(f.lines() == "vmm: here (2 log lines were lost before this one)\n");
}

TEST_CASE("log: a stalled terminal cuts a line, loses others, and never blocks", "[core]") {
  CapturedLog f;
  const StalledTerminal terminal;
  set_log_fd(terminal.writer.get());
  std::future<void> logging = std::async(std::launch::async, [] {
    for (int i = 0; i < 20; ++i) log_info("{}", std::string(4000, 'y'));
  });
  const bool blocked = logging.wait_for(std::chrono::seconds(5)) != std::future_status::ready;
  while (logging.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) read_available(terminal.reader);
  CHECK_FALSE(blocked);
  terminal.read_all();
  log_info("here");
  const std::string lines = terminal.read_all();
  CHECK_THAT(lines, Catch::Contains("vmm: here (") && Catch::EndsWith(" log lines were lost before this one)\n"));
}

TEST_CASE("log: a reader that has gone, a full disk and a closed descriptor are counted", "[core]") {
  CapturedLog f;
  f.pipe.read = UniqueFd();
  log_info("to nobody");
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  set_log_fd(full.get());
  log_info("to a full disk");
  set_log_fd(-1);
  log_info("to nowhere");
  Pipe pipe;
  set_log_fd(pipe.write.get());
  log_info("here");
  CHECK(read_available(pipe.read) == "vmm: here (3 log lines were lost before this one)\n");
}

TEST_CASE("log: text that was asked for waits for its reader, and not for ever", "[core]") {
  CapturedLog f;
  const std::string text = std::string(300'000, 'x') + "\n";
  std::string read;
  std::thread reader([&] {
    while (read.size() < text.size()) read += f.lines();
  });
  log_text(text);
  reader.join();
  CHECK(read == text);
  log_text(text);  // nobody reads
  f.lines();
  log_info("here");
  CHECK(f.lines() == "vmm: here (1 log lines were lost before this one)\n");
}

TEST_CASE("log: a guest's lines are limited, and what was held back is told", "[core]") {
  CapturedLog f;
  LogLimit limit;
  for (int i = 0; i < 1000; ++i) guest_warn(limit, "mistake {}", i);
  CHECK(f.lines() == "vmm: mistake 0\nvmm: mistake 1\nvmm: mistake 2\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(1010));
  guest_warn(limit, "again");
  CHECK(f.lines() == "vmm: again (997 more like it held back)\n");
}

TEST_CASE("log: each source of lines has a limit of its own", "[core]") {
  CapturedLog f;
  LogLimit one;
  LogLimit other;
  for (int i = 0; i < 10; ++i) guest_warn(one, "one");
  guest_warn(other, "other");
  CHECK(f.lines() == "vmm: one\nvmm: one\nvmm: one\nvmm: other\n");
}
