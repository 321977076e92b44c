// A console, a card and a source of entropy on one loop, each with a driver without sense. Somebody else on that loop
// waits for so many bytes of their work at most.
#include <functional>
#include <utility>

#include "devices/virtio/console.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "tests/fuzz/fuzz_driver.h"
#include "tests/support/fake_net_backend.h"

namespace vmm::test {
namespace {

struct Sink : FuzzStream {
  size_t write(std::span<const std::byte> bytes) override {
    moved += bytes.size();
    return bytes.size();
  }
  size_t write_last(std::span<const std::byte> bytes) override { return write(bytes); }
  uint64_t moved = 0;
};

struct Wire : FakeNetBackend {
  bool send(size_t, std::span<const iovec> frame) override {
    moved += total_size(frame);
    return true;
  }
  uint64_t moved = 0;
};

}  // namespace

void fuzz(FuzzInput& input) {
  FakeDeviceHost host;
  Sink sink;
  Wire wire;
  FuzzDriver console(input, host,
                     std::make_unique<VirtioConsole>(std::vector<VirtioConsole::PortConfig>{
                         {.name = "console", .is_console = true, .backend = sink}}));
  FuzzDriver card(input, host,
                  std::make_unique<VirtioNet>(wire, MacAddress{{2, 0, 0, 0, 0, 1}}, VirtioNet::SourceFilter::kOff, "0"),
                  0x40000);
  FuzzDriver entropy(input, host, std::make_unique<VirtioRng>(), 0x80000);
  FuzzDriver* const drivers[] = {&console, &card, &entropy};

  constexpr uint64_t kMost = 2 * Virtqueue::kTurnBytes;
  uint64_t before = 0;
  unsigned turns = 0;
  const std::function<void()> bystander = [&] {
    const uint64_t now = sink.moved + wire.moved;
    require(now - std::exchange(before, now) <= kMost);
    if (++turns < 64) host.loop().post(bystander);
  };
  while (input.next_step()) {
    turns = 0;
    before = sink.moved + wire.moved;
    host.loop().post(bystander);
    drivers[input.take_below(std::size(drivers))]->step(input);
  }
  host.loop().run_ready();
}

}  // namespace vmm::test
