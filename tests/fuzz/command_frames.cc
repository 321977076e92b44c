// Frames of a command from a guest without sense, cut at will, into a sink that takes what it likes.
#include "vmm/machine/command_frames.h"

#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/kernel_target.h"

namespace {

using namespace vmm;
using namespace vmm::test;

struct Sink : CommandFrames::Sink {
  size_t on_output(bool, CommandFrames::Bytes bytes) override { return std::min(room, bytes.size()); }
  void on_control(char kind, CommandFrames::Bytes payload) override {
    require(kind != 'O' && kind != 'E');
    require(payload.size() <= CommandFrames::kMaxControl);
  }
  size_t room = 0;
};

}  // namespace

void vmm::test::fuzz(FuzzInput& input) {
  CommandFrames frames;
  Sink sink;
  while (input.next_step()) {
    sink.room = input.take<uint8_t>();
    const auto part = input.take_bytes(input.take_below(600));
    const size_t taken = frames.feed(part, sink);
    require(taken <= part.size());
    if (sink.room > 0 && taken < part.size()) require(frames.feed(part.subspan(taken), sink) > 0);
  }
}
