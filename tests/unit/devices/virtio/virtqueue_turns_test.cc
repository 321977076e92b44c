// Devices side by side on one loop, each driven as hard as a guest can: how much of their work somebody else has to
// wait for. It is measured in bytes that were moved between two of his turns, not by a clock, so that no test hangs on
// who is quicker.
#include "devices/virtio/virtqueue.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <limits>
#include <utility>

#include "devices/virtio/console.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "tests/support/driver_queue.h"
#include "tests/support/fake_net_backend.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kTable = 0x30'0000;   // an indirect table: as many pieces as a chain may have, of 4 MiB each
constexpr uint64_t kBuffer = 0x31'0000;  // of a frame
constexpr uint16_t kPieces = 1023;

// A reader who takes everything at once.
struct Sink : CharBackend {
  size_t write(std::span<const std::byte> bytes) override {
    moved += bytes.size();
    return bytes.size();
  }
  size_t write_last(std::span<const std::byte> bytes) override { return write(bytes); }
  void set_on_writable(std::function<void()>) override {}
  void set_input(std::function<size_t(std::span<const std::byte>)>) override {}
  void resume_input() override {}

  uint64_t moved = 0;
};

// A network that takes every frame, while the driver, on another CPU, has the next one ready.
struct Wire : FakeNetBackend {
  bool send(size_t, std::span<const iovec> frame) override {
    moved += total_size(frame);
    if (on_send) on_send();
    return true;
  }

  uint64_t moved = 0;
  std::function<void()> on_send;
};

struct Fixture {
  Fixture() {
    for (uint16_t i = 0; i < kPieces; ++i) {
      const auto next = static_cast<uint16_t>(i + 1 < kPieces ? VRING_DESC_F_NEXT : 0);
      host.memory().write_value(GuestAddress{kTable + i * sizeof(vring_desc)},
                                vring_desc{0, FakeDeviceHost::kMemorySize, next, static_cast<uint16_t>(i + 1)});
    }
    console.activate(0);
    net.activate(0);
  }
  ~Fixture() {
    console.stopping();
    net.stopping();
    for (DriverQueue* queue : {&output, &frames, &entropy}) queue->device_side().stop();
    host.loop().run_ready();
  }

  void print_without_end() {
    for (int i = 0; i < 100; ++i) {
      output.chain().raw({kTable}, kPieces * sizeof(vring_desc), VRING_DESC_F_INDIRECT).publish();
    }
    host.loop().spawn(console.serve(1, output.device_side()));
  }
  void send_without_end() {
    const auto add = [this] { frames.chain().raw({kBuffer}, 60'000, 0).publish(); };
    wire.on_send = add;
    for (int i = 0; i < 200; ++i) add();
    host.loop().spawn(net.serve(1, frames.device_side()));
  }
  void draw_without_end() {
    for (int i = 0; i < 250; ++i) entropy.chain().raw({kBuffer}, 65'536, VRING_DESC_F_WRITE).publish();
    host.loop().spawn(rng.serve(0, entropy.device_side()));
  }
  uint64_t moved() {
    const auto drawn = host.memory().read<uint16_t>(GuestAddress{entropy.config().used.value + 2}).value();
    return sink.moved + wire.moved + uint64_t{65'536} * drawn;
  }

  FakeDeviceHost host;
  Sink sink;
  Wire wire;
  VirtioConsole console{{{.name = "console", .is_console = true, .backend = sink}}};
  VirtioNet net{wire, MacAddress{{2, 0, 0, 0, 0, 1}}, VirtioNet::SourceFilter::kOff, "0"};
  VirtioRng rng;
  DriverQueue output{host, {.size = 256, .base = 0x10000}};
  DriverQueue frames{host, {.size = 256, .base = 0x20000}};
  DriverQueue entropy{host, {.size = 256, .base = 0x40000}};
};

// Somebody else on the loop, who has a little to do again and again.
class Bystander {
 public:
  explicit Bystander(Fixture& fixture) : fixture_(fixture) {}

  // Called in each of its turns; false when it has had enough of them.
  bool turn() {
    const uint64_t now = fixture_.moved();
    longest_ = std::max(longest_, now - std::exchange(before_, now));
    if (++turns_ < kTurns) return true;
    fixture_.host.loop().stop();
    return false;
  }
  // Bytes that others moved between two of its turns.
  uint64_t longest() const { return longest_; }

 private:
  static constexpr unsigned kTurns = 32;
  Fixture& fixture_;
  unsigned turns_ = 0;
  uint64_t before_ = 0;
  uint64_t longest_ = 0;
};

// As posted work: what another thread asks of the loop, or a task that has let others go first.
uint64_t longest_wait_of_posted_work(Fixture& f) {
  Bystander bystander(f);
  const std::function<void()> look = [&] {
    if (bystander.turn()) f.host.loop().post(look);
  };
  f.host.loop().post(look);
  f.host.loop().run();
  return bystander.longest();
}

// As a descriptor: a terminal, a control socket.
uint64_t longest_wait_of_a_descriptor(Fixture& f) {
  Bystander bystander(f);
  const EventFd event;
  event.signal();
  FdWatch* again = nullptr;
  FdWatch watch(f.host.loop(), event.fd(), FdWatch::Event::kReadable, [&] {
    if (bystander.turn()) again->arm();
  });
  again = &watch;
  watch.arm();
  f.host.loop().run();
  return bystander.longest();
}

}  // namespace

TEST_CASE("turns: a driver that prints gigabytes at once lets others have their turn", "[virtio][turns]") {
  Fixture f;
  f.print_without_end();
  CHECK(longest_wait_of_posted_work(f) <= 256 << 10);
  CHECK(f.sink.moved > 0);
}

TEST_CASE("turns: a driver that never stops sending lets others have their turn", "[virtio][turns]") {
  Fixture f;
  f.send_without_end();
  CHECK(longest_wait_of_posted_work(f) <= Virtqueue::kTurnBytes + 60'000);
  CHECK(f.wire.moved > 0);
}

TEST_CASE("turns: a driver that wants all the entropy there is lets others have their turn", "[virtio][turns]") {
  Fixture f;
  f.draw_without_end();
  CHECK(longest_wait_of_posted_work(f) <= 2 * 65'536);
  CHECK(f.moved() > 0);
}

TEST_CASE("turns: with all of them at once a descriptor waits for one turn of each", "[virtio][turns]") {
  Fixture f;
  f.print_without_end();
  f.send_without_end();
  f.draw_without_end();
  CHECK(longest_wait_of_a_descriptor(f) <= 2 * Virtqueue::kTurnBytes);
  CHECK(f.sink.moved > 0);
  CHECK(f.wire.moved > 0);
}
