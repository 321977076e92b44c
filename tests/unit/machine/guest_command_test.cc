// A command's streams against readers that are slow or gone, and against a guest that lies.
#include "vmm/machine/guest_command.h"

#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>
#include <thread>

#include "tests/support/descriptors.h"
#include "tests/support/wait_until.h"

using namespace vmm;
using namespace vmm::test;

namespace {

std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The guest's side: what it was sent, and frames of its own.
struct Fixture {
  Fixture() {
    ::signal(SIGPIPE, SIG_IGN);
    command.emplace(loop, CommandConfig{.words = {"cat", "-n"}, .environment = {"A=1"}, .directory = "/mnt"},
                    GuestCommand::Streams{input.read.get(), output.write.get(), errors.write.get()});
    command->set_input([this](std::span<const std::byte> bytes) {
      const size_t taken = std::min(bytes.size(), guest_room);
      sent += as_text(bytes.first(taken));
      guest_room -= taken;
      return taken;
    });
    command->set_on_writable([this] { ++writable; });
    command->begin(false, nullptr,
                   {.on_started = [this] { ++starts; },
                    .on_output =
                        [this](bool is_error, GuestCommand::Bytes taken) {
                          ++outputs;
                          if (!is_error) noted.append(reinterpret_cast<const char*>(taken.data()), taken.size());
                        },
                    .on_result = [this](const GuestCommand::Result& result) { results.push_back(result); }});
  }

  size_t say(char kind, std::string_view payload = {}) {
    return command->write(CommandFrames::frame(kind, std::as_bytes(std::span(payload))));
  }
  void type(const std::string& text) const { REQUIRE(::write(input.write.get(), text.data(), text.size()) > 0); }
  // Reads standard output until the command says that nothing is left: how much there was.
  size_t read_to_the_end() {
    size_t seen = 0;
    bool drained = false;
    command->when_drained([&] { drained = true; });
    for (int tries = 0; tries < 10'000 && !drained; ++tries) {
      seen += read_available(output.read).size();
      loop.run_ready();
    }
    CHECK(drained);
    return seen + read_available(output.read).size();
  }
  // The payloads of the frames of this kind that were sent.
  std::vector<std::string> frames(char kind) const {
    std::vector<std::string> found;
    for (size_t at = 0; at + CommandFrames::kHeader <= sent.size();) {
      uint32_t length = 0;
      std::memcpy(&length, sent.data() + at + 1, sizeof length);
      if (sent[at] == kind) found.push_back(sent.substr(at + CommandFrames::kHeader, length));
      at += CommandFrames::kHeader + length;
    }
    return found;
  }
  std::string payloads(char kind) const {
    std::string all;
    for (const std::string& payload : frames(kind)) all += payload;
    return all;
  }
  size_t count(char kind) const { return frames(kind).size(); }

  EventLoop loop;
  Pipe input, output, errors;
  std::optional<GuestCommand> command;
  std::string sent;
  size_t guest_room = SIZE_MAX;
  unsigned writable = 0;
  unsigned starts = 0;
  unsigned outputs = 0;
  std::string noted;  // of standard output
  std::vector<GuestCommand::Result> results;
};

}  // namespace

TEST_CASE("guest command: it is started once, when the guest shows a sign of life", "[command]") {
  Fixture f;
  CHECK(f.sent.empty());
  CHECK(f.starts == 0);
  f.say('B');
  f.say('B');
  CHECK(f.count('S') == 1);
  CHECK(f.starts == 1);
  const std::string start = f.payloads('S');
  using namespace std::string_literals;
  CHECK(start.substr(4) == "\0\2\0\0\0/mnt\0cat\0-n\0A=1\0"s);
}

TEST_CASE("guest command: output and errors go to their streams, and the result is told once", "[command]") {
  Fixture f;
  f.say('B');
  f.say('O', "out");
  f.say('E', "err");
  f.say('X', std::string_view("\0\5", 2));
  f.say('X', std::string_view("\0\0", 2));
  CHECK(read_available(f.output.read) == "out");
  CHECK(read_available(f.errors.read) == "err");
  REQUIRE(f.results.size() == 1);
  CHECK(f.results[0].how == GuestCommand::Result::How::kExited);
  CHECK(f.results[0].value == 5);
}

TEST_CASE("guest command: a result that nobody asked for, or without a status, is none", "[command]") {
  Fixture f;
  f.say('X', std::string_view("\0\0", 2));
  f.say('B');
  f.say('X', "");
  f.say('X', std::string_view("\0", 1));
  CHECK(f.results.empty());
}

TEST_CASE("guest command: what a guest says of its failure cannot write to the terminal", "[command]") {
  Fixture f;
  f.say('B');
  f.say('X',
        "\2\x7f"
        "cannot run '\x1b[2J'");
  REQUIRE(f.results.size() == 1);
  CHECK(f.results[0].how == GuestCommand::Result::How::kNotStarted);
  CHECK(f.results[0].value == 127);
  CHECK(f.results[0].why == "cannot run '?[2J'");
}

TEST_CASE("guest command: no output is lost to a slow reader, and little of it is held", "[command]") {
  Fixture f;
  f.say('B');
  const std::string all(size_t{1} << 20, 'x');
  const auto frame = CommandFrames::frame('O', std::as_bytes(std::span(all)));
  size_t done = f.command->write(frame);
  CHECK(done < size_t{256} * 1024);  // a pipe's 64 KiB and our own 64
  size_t seen = 0;
  REQUIRE(wait_until(f.loop, [&] {
    seen += read_available(f.output.read).size();
    done += f.command->write(std::span(frame).subspan(done));
    return seen == all.size();
  }));
  CHECK(f.writable > 0);
}

TEST_CASE("guest command: the end waits for the reader of what is left", "[command]") {
  Fixture f;
  f.say('B');
  const size_t filled = fill(f.output.write);
  CHECK(f.command->drained());
  f.say('O', "last words");
  CHECK_FALSE(f.command->drained());
  CHECK(f.read_to_the_end() == filled + 10);
}

TEST_CASE("guest command: the end waits for a reader of errors, too, and for none that went away", "[command]") {
  Fixture f;
  f.say('B');
  const size_t filled = fill(f.output.write);
  fill(f.errors.write);
  f.say('O', "last words");
  f.say('E', "last error");
  f.errors.read = UniqueFd();
  CHECK(f.read_to_the_end() == filled + 10);
}

TEST_CASE("guest command: the last words of a guest are taken whole", "[command]") {
  Fixture f;
  f.say('B');
  const std::string all(size_t{1} << 20, 'x');
  const auto frame = CommandFrames::frame('O', std::as_bytes(std::span(all)));
  CHECK(f.command->write_last(frame) == frame.size());
  CHECK(f.read_to_the_end() == all.size());
}

TEST_CASE("guest command: a wait for the reader does not outlive a reset", "[command]") {
  Fixture f;
  f.say('B');
  fill(f.output.write);
  f.say('O', "last words");
  bool told = false;
  f.command->when_drained([&] { told = true; });
  f.command->restart();
  read_available(f.output.read);
  while (f.loop.run_ready() > 0) continue;
  CHECK(read_available(f.output.read) == "last words");
  CHECK_FALSE(told);
}

TEST_CASE("guest command: output is told of, on either stream", "[command]") {
  Fixture f;
  f.say('B');
  CHECK(f.outputs == 0);
  f.say('O', "out");
  CHECK(f.outputs == 1);
  f.say('E', "err");
  CHECK(f.outputs == 2);
  CHECK(f.noted == "out");
}

TEST_CASE("guest command: a reader that went away does not hold the guest up", "[command]") {
  Fixture f;
  f.say('B');
  f.output.read = UniqueFd();
  const std::string much(size_t{1} << 20, 'x');
  CHECK(f.say('O', much) == much.size() + CommandFrames::kHeader);
}

TEST_CASE("guest command: the guest is told once in a boot that a reader went away, and of which stream", "[command]") {
  Fixture f;
  f.say('B');
  f.errors.read = UniqueFd();
  f.say('O', "out");
  CHECK(f.count('C') == 0);
  f.say('E', "err");
  f.say('E', "err");
  CHECK(f.frames('C') == std::vector<std::string>{"\1"});
  CHECK(f.command->output_lost() == 0);
  f.command->restart();
  f.say('B');
  CHECK(f.count('C') == 2);
  CHECK(f.sent.rfind('C') > f.sent.rfind('S'));
}

TEST_CASE("guest command: output that cannot be written is lost, and why is known", "[command]") {
  Fixture f;
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  GuestCommand command(f.loop, CommandConfig{}, {f.input.read.get(), full.get(), f.errors.write.get()});
  GuestCommand::Events events;
  events.on_output = [](bool, GuestCommand::Bytes) {};
  command.begin(false, nullptr, std::move(events));
  CHECK(command.output_lost() == 0);
  command.write(CommandFrames::frame('O', std::as_bytes(std::span("out"))));
  CHECK(command.output_lost() == ENOSPC);
}

TEST_CASE("guest command: input and its end arrive, before and behind the start", "[command]") {
  Fixture f;
  f.type("hello");
  f.loop.run_ready();
  CHECK(f.sent.empty());
  f.say('B');
  f.input.write = UniqueFd();
  REQUIRE(wait_until(f.loop, [&] { return f.count('I') >= 2; }));
  CHECK(f.payloads('I') == "hello");
  CHECK(f.sent.ends_with(std::string("I\0\0\0\0", 5)));
}

TEST_CASE("guest command: input is read only as far as the command takes it", "[command]") {
  Fixture f;
  f.say('B');
  const auto paste = [&] {
    for (int turn = 0; turn < 2000; ++turn) {
      fill(f.input.write);
      f.loop.run_ready();
    }
    return f.payloads('I').size();
  };
  const size_t window = size_t{256} * 1024;
  CHECK(paste() == window);
  f.say('A', std::string_view("\x10\0\0\0", 4));
  CHECK(paste() == window + 16);
  f.say('A', std::string_view("\xff\xff\xff\xff", 4));  // it cannot have taken so much
  CHECK(paste() <= 2 * window + 16);
}

TEST_CASE("guest command: after a reset it begins anew", "[command]") {
  Fixture f;
  f.say('B');
  f.command->write(std::as_bytes(std::span(std::string_view("O\xff\0\0"))));
  f.command->restart();
  f.say('B');
  CHECK(f.count('S') == 2);
  f.say('X', std::string_view("\1\x0b", 2));
  REQUIRE(f.results.size() == 1);
  CHECK(f.results[0].how == GuestCommand::Result::How::kSignalled);
}

TEST_CASE("guest command: input that the guest does not take does not pile up, whatever it says", "[command]") {
  Fixture f;
  f.say('B');
  f.guest_room = 0;
  ::fcntl(f.input.write.get(), F_SETFL, O_NONBLOCK);
  const std::string text(4096, 'i');
  size_t written = 0;
  for (int i = 0; i < 1000; ++i) {
    if (const ssize_t length = ::write(f.input.write.get(), text.data(), text.size()); length > 0) {
      written += static_cast<size_t>(length);
    }
    f.loop.run_ready();
    f.say('A', std::string(4, '\xff'));
  }
  CHECK(written >= size_t{256} << 10);
  CHECK(written < size_t{512} << 10);  // with what is in the pipe
  f.guest_room = SIZE_MAX;
  f.command->resume_input();
  f.loop.run_ready();
  CHECK(f.payloads('I').size() >= size_t{200} << 10);
}
