// Frames from a guest, in one piece, in many, and from one that means harm.
#include "vmm/machine/command_frames.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace vmm;

namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

struct Recorder : CommandFrames::Sink {
  size_t on_output(bool is_error, CommandFrames::Bytes bytes) override {
    const size_t taken = std::min(room, bytes.size());
    (is_error ? errors : output).append(reinterpret_cast<const char*>(bytes.data()), taken);
    room -= taken;
    return taken;
  }
  void on_control(char kind, CommandFrames::Bytes payload) override {
    controls.push_back(std::string(1, kind) +
                       std::string(reinterpret_cast<const char*>(payload.data()), payload.size()));
  }
  std::string output, errors;
  std::vector<std::string> controls;
  size_t room = SIZE_MAX;
};

std::vector<std::byte> stream_of(const std::vector<std::pair<char, std::string>>& frames) {
  std::vector<std::byte> all;
  for (const auto& [kind, payload] : frames) {
    const auto frame = CommandFrames::frame(kind, bytes_of(payload));
    all.insert(all.end(), frame.begin(), frame.end());
  }
  return all;
}

}  // namespace

TEST_CASE("command frames: kinds are told apart, wherever the stream is cut", "[command]") {
  const auto stream = stream_of({{'B', ""}, {'O', "out"}, {'E', "error"}, {'O', ""}, {'O', "put"}, {'X', "\1\2why"}});
  const size_t step = GENERATE(range<size_t>(1, 20));
  CommandFrames frames;
  Recorder recorder;
  for (size_t at = 0; at < stream.size(); at += step) {
    const auto part = std::span(stream).subspan(at, std::min(step, stream.size() - at));
    REQUIRE(frames.feed(part, recorder) == part.size());
  }
  CHECK(recorder.output == "output");
  CHECK(recorder.errors == "error");
  CHECK(recorder.controls == std::vector<std::string>{"B", "X\1\2why"});
}

TEST_CASE("command frames: output that is not taken comes again, and nothing behind it is looked at", "[command]") {
  const auto stream = stream_of({{'O', "0123456789"}, {'X', "\0\0"}});
  CommandFrames frames;
  Recorder recorder;
  recorder.room = 4;
  const size_t taken = frames.feed(stream, recorder);
  CHECK(taken == CommandFrames::kHeader + 4);
  CHECK(recorder.controls.empty());
  recorder.room = SIZE_MAX;
  CHECK(frames.feed(std::span(stream).subspan(taken), recorder) == stream.size() - taken);
  CHECK(recorder.output == "0123456789");
  CHECK(recorder.controls.size() == 1);
}

TEST_CASE("command frames: a frame of four gigabytes costs no memory", "[command]") {
  CommandFrames frames;
  Recorder recorder;
  const char header[] = {'Z', '\xff', '\xff', '\xff', '\xff'};
  frames.feed(bytes_of({header, sizeof header}), recorder);
  const std::string chunk(size_t{1} << 20, 'x');
  for (int i = 0; i < 4095; ++i) frames.feed(bytes_of(chunk), recorder);
  frames.feed(bytes_of(std::string((size_t{1} << 20) - 1, 'x')), recorder);
  REQUIRE(recorder.controls.size() == 1);
  CHECK(recorder.controls.front().size() == 1 + CommandFrames::kMaxControl);
}

TEST_CASE("command frames: after a reset a frame begins anew", "[command]") {
  CommandFrames frames;
  Recorder recorder;
  frames.feed(bytes_of("O\x10"), recorder);
  frames.reset();
  frames.feed(stream_of({{'O', "ok"}}), recorder);
  CHECK(recorder.output == "ok");
}
