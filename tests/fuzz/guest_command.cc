// A command's streams between a guest without sense and readers that come and go. Whatever it says, what is kept for it
// is bounded.
#include "vmm/machine/guest_command.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <optional>

#include "tests/fuzz/fuzz_input.h"
#include "tests/support/descriptors.h"

namespace vmm::test {
namespace {

constexpr std::string_view kKinds = "BAXOECWRSI?";

// Half of all frames could be an honest guest's.
std::vector<std::byte> frame_of(FuzzInput& input) {
  if (!input.take_bool()) {
    const auto bytes = input.take_bytes(input.take_below(64));
    return {bytes.begin(), bytes.end()};
  }
  return CommandFrames::frame(kKinds[input.take_below(kKinds.size())], input.take_bytes(input.take_below(64)));
}

}  // namespace

void fuzz(FuzzInput& input) {
  ::signal(SIGPIPE, SIG_IGN);
  EventLoop loop;
  Pipe typed, output, errors;
  for (const int fd : {typed.write.get(), output.read.get(), errors.read.get()}) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  size_t room = 0;     // of the guest's buffers
  uint64_t given = 0;  // to the guest
  uint64_t started = 0;
  GuestCommand command(loop, CommandConfig{.words = {"x"}},
                       {.input = typed.read.get(), .output = output.write.get(), .errors = errors.write.get()});
  command.set_input([&](std::span<const std::byte> bytes) {
    require(bytes.size() < 4 << 20);
    const size_t taken = std::min(room, bytes.size());
    room -= taken;
    given += taken;
    return taken;
  });
  command.begin(input.take_bool(), nullptr,
                {.on_started = [&] { ++started; },
                 .on_output = [](bool, auto) {},
                 .on_result = [&](const auto&) { require(started > 0); }});
  std::array<std::byte, 4096> block{};
  while (input.next_step()) {
    switch (input.take_below(10)) {
      case 0:
        (void)!::write(typed.write.get(), block.data(), block.size());
        break;
      case 1:
        room = input.take<uint16_t>();
        command.resume_input();
        break;
      case 2:
        (void)!::read(output.read.get(), block.data(), block.size());
        (void)!::read(errors.read.get(), block.data(), block.size());
        break;
      case 3:
        command.restart();
        break;
      case 4:
        command.set_window_size(input.take<uint16_t>(), input.take<uint16_t>());
        break;
      case 5: {
        const auto frame = frame_of(input);
        require(command.write_last(frame) <= frame.size());
        break;
      }
      default: {
        const auto frame = frame_of(input);
        require(command.write(frame) <= frame.size());
      }
    }
    loop.run_ready();
  }
}

}  // namespace vmm::test
