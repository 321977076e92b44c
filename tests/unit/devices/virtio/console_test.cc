// Output, input and control messages of a console, from honest drivers and others.
#include "devices/virtio/console.h"

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstring>

#include "devices/virtio/spec.h"
#include "tests/support/driver_queue.h"
#include "tests/support/fake_char_backend.h"

using namespace vmm;
using namespace vmm::test;

namespace {

struct Fixture {
  using Ports = std::vector<VirtioConsole::PortConfig>;
  explicit Fixture(bool multiport = false)
      : device(multiport ? Ports{{"console", true, backend}, {"org.example.agent", false, channel}}
                         : Ports{{"console", true, backend}}) {
    device.change_config = [this](const VirtioDevice::Change& change) {
      change();
      ++changes;
    };
    start();
  }
  ~Fixture() { stop(); }

  void start() {
    running = 0;
    device.activate(features & device.traits().features);
    queues.clear();
    for (size_t i = 0; i < device.traits().queue_sizes.size(); ++i) {
      const uint64_t base = 0x10000 + i * 0x60000;
      host.memory().write(GuestAddress{base}, std::vector<std::byte>(0x8000));  // a driver begins with a clean ring
      queues.push_back(std::make_unique<DriverQueue>(host, DriverQueue::Options{.base = base}));
      ++running;
      host.loop().spawn(device.serve(i, queues[i]->device_side()), [this] { --running; });
    }
  }
  // As the transport does it.
  void stop() {
    device.stopping();
    for (const auto& queue : queues) queue->device_side().stop();
    host.loop().run_ready();
    device.reset();
  }
  DriverQueue& input() { return *queues[0]; }
  DriverQueue& output() { return *queues[1]; }
  std::string text(DriverQueue& queue) {
    const auto used = queue.next_used().value();
    const auto bytes = queue.bytes(used.writable.at(0));
    return std::string(reinterpret_cast<const char*>(bytes.data()), used.length);
  }

  FakeDeviceHost host;
  FakeCharBackend backend;
  FakeCharBackend channel;
  VirtioConsole device;
  std::vector<std::unique_ptr<DriverQueue>> queues;
  uint64_t features = ~uint64_t{0};  // as far as they are offered
  unsigned changes = 0;
  size_t running = 0;  // serve() tasks
};

// A console and a named channel, whose driver reads control messages.
struct Multiport : Fixture {
  Multiport() : Fixture(true) { offer_control_buffers(); }
  void offer_control_buffers() {
    for (int i = 0; i < 16; ++i) queues[2]->chain().writable(64).publish();
  }
  void send(uint32_t id, uint16_t event, uint16_t value) {
    queues[3]->chain().readable_value(virtio_console_control{.id = id, .event = event, .value = value}).publish();
    CHECK(queues[3]->next_used().has_value());
  }
  struct Message {
    uint32_t id;
    unsigned event;
    unsigned value;
    std::string payload;
    bool operator==(const Message&) const = default;
  };
  std::vector<Message> messages() {
    std::vector<Message> all;
    while (const auto used = queues[2]->next_used()) {
      const auto bytes = queues[2]->bytes(used->writable.at(0));
      virtio_console_control header = {};
      std::memcpy(&header, bytes.data(), sizeof header);
      all.push_back(
          {header.id, header.event, header.value,
           std::string(reinterpret_cast<const char*>(bytes.data()) + sizeof header, used->length - sizeof header)});
    }
    return all;
  }
  DriverQueue& control_out() { return *queues[3]; }
};

}  // namespace

TEST_CASE("virtio-console: a chain of three buffers is printed as a whole", "[virtio][console]") {
  Fixture f;
  f.output().chain().readable("one ").readable("two ").readable("three").publish();
  CHECK(f.output().next_used()->length == 0);
  CHECK(f.backend.output == "one two three");
}

TEST_CASE("virtio-console: what was in a chain when the device stops is not lost", "[virtio][console]") {
  Fixture f;
  f.backend.room = 5;
  f.output().chain().readable("last words").publish();
  f.output().chain().readable(", and more").publish();
  f.host.loop().run_ready();
  CHECK(f.backend.output == "last ");
  f.stop();
  CHECK(f.backend.output == "last words, and more");
  CHECK(f.running == 0);
}

TEST_CASE("virtio-console: a long chain arrives in full", "[virtio][console]") {
  Fixture f;
  f.output().chain().readable(std::string(100'000, 'a')).readable(std::string(100'001, 'b')).publish();
  f.output().next_used();
  CHECK(f.backend.output == std::string(100'000, 'a') + std::string(100'001, 'b'));
}

TEST_CASE("virtio-console: writable and empty chains on the transmit queue are returned", "[virtio][console]") {
  Fixture f;
  f.output().chain().writable(100).publish();
  CHECK(f.output().next_used()->length == 0);
  f.output().chain().readable("").publish();
  CHECK(f.output().next_used()->length == 0);
  CHECK(f.backend.output.empty());
}

TEST_CASE("virtio-console: output that is refused waits in its chain, and only there", "[virtio][console]") {
  Fixture f;
  f.backend.room = 3;
  f.output().chain().readable("hello").publish();
  f.output().chain().readable(" you").publish();
  CHECK_FALSE(f.output().next_used().has_value());
  const unsigned writes = f.backend.writes;
  f.host.loop().run_ready();
  CHECK(f.backend.writes == writes);  // it does not try again and again
  f.input().chain().writable(16).publish();
  f.backend.type("x");
  CHECK(f.text(f.input()) == "x");
  f.backend.make_room(100);
  CHECK(f.output().next_used().has_value());
  CHECK(f.output().next_used().has_value());
  CHECK(f.backend.output == "hello you");
}

TEST_CASE("virtio-console: stopping while output is refused ends everything and takes no further chain",
          "[virtio][console]") {
  Fixture f;
  f.backend.room = f.backend.last_room = 0;
  f.output().chain().readable("one").publish();
  f.output().chain().readable("two").publish();
  f.host.loop().run_ready();
  f.stop();
  CHECK(f.running == 0);
  CHECK(f.output().next_used().has_value());
  CHECK_FALSE(f.output().next_used().has_value());
}

TEST_CASE("virtio-console: after a reset it serves the next driver", "[virtio][console]") {
  Fixture f;
  f.backend.room = f.backend.last_room = 0;
  f.output().chain().readable("lost").publish();
  f.host.loop().run_ready();
  f.stop();
  f.backend.room = 100;
  f.start();
  f.output().chain().readable("found").publish();
  f.output().next_used();
  CHECK(f.backend.output == "found");
}

TEST_CASE("virtio-console: stopped, used again and stopped a thousand times it leaves nothing running",
          "[virtio][console]") {
  Fixture f;
  size_t running = 0;
  for (int i = 0; i < 1000; ++i) {
    f.stop();
    running += f.running;
    f.start();
  }
  CHECK(running == 0);
}

TEST_CASE("virtio-console: input goes into one buffer, as much as there is", "[virtio][console]") {
  Fixture f;
  f.input().chain().writable(16).publish();
  f.host.loop().run_ready();
  CHECK_FALSE(f.input().next_used().has_value());
  CHECK(f.backend.type("hello") == 5);
  CHECK(f.text(f.input()) == "hello");
}

TEST_CASE("virtio-console: input is cut to the buffers and keeps its order", "[virtio][console]") {
  Fixture f;
  f.backend.type("hello");
  f.input().chain().writable(2).publish();
  f.input().chain().writable(2).publish();
  f.input().chain().writable(2).publish();
  CHECK(f.text(f.input()) == "he");
  CHECK(f.text(f.input()) == "ll");
  CHECK(f.text(f.input()) == "o");
}

TEST_CASE("virtio-console: input without buffers is bounded, and does not spin", "[virtio][console]") {
  Fixture f;
  size_t taken = 0;
  for (int i = 0; i < 100; ++i) taken += f.backend.type(std::string(1000, 'x'));
  CHECK(taken == 4096);
  CHECK(f.backend.resumes == 0);
  f.host.loop().run_ready();
  CHECK(f.host.loop().run_ready() == 0);
  f.input().chain().writable(16).publish();
  CHECK(f.text(f.input()) == std::string(16, 'x'));
  CHECK(f.backend.resumes == 1);
}

TEST_CASE("virtio-console: a readable buffer on the receive queue is returned and costs no input",
          "[virtio][console]") {
  Fixture f;
  f.input().chain().readable("nonsense").publish();
  f.input().chain().writable(8).publish();
  f.backend.type("key");
  CHECK(f.input().next_used()->length == 0);
  CHECK(f.text(f.input()) == "key");
}

TEST_CASE("virtio-console: the configuration shows the window's size, and a change is told", "[virtio][console]") {
  Fixture f;
  f.device.set_window_size(132, 43);
  CHECK(f.changes == 1);
  std::array<uint16_t, 2> size = {};
  f.device.read_config(0, std::as_writable_bytes(std::span(size)));
  CHECK(size == std::array<uint16_t, 2>{132, 43});
}

TEST_CASE("virtio-console: a size from before the driver came is told with the first input", "[virtio][console]") {
  Fixture f;
  f.stop();
  f.device.set_window_size(132, 43);
  f.changes = 0;  // nobody heard of that one
  f.start();
  f.input().chain().writable(8).publish();
  f.input().chain().writable(8).publish();
  f.host.loop().run_ready();
  CHECK(f.changes == 0);
  f.backend.type("a");
  CHECK(f.changes == 1);
  f.backend.type("b");
  CHECK(f.changes == 1);
}

TEST_CASE("virtio-console: a driver that comes after a reset is told the size as well", "[virtio][console]") {
  Fixture f;
  f.device.set_window_size(132, 43);
  f.stop();
  f.start();
  f.input().chain().writable(8).publish();
  f.backend.type("a");
  CHECK(f.changes == 2);
}

TEST_CASE("virtio-console: the backend is given back in the end", "[virtio][console]") {
  FakeCharBackend backend;
  std::make_unique<VirtioConsole>(std::vector<VirtioConsole::PortConfig>{{"console", true, backend}}).reset();
  CHECK_FALSE(backend.attached());
}

TEST_CASE("virtio-console: a driver that is ready is told of every port", "[virtio][console]") {
  Multiport f;
  f.send(0xffffffff, VIRTIO_CONSOLE_DEVICE_READY, 1);
  CHECK(f.messages() ==
        std::vector<Multiport::Message>{{0, VIRTIO_CONSOLE_PORT_ADD, 1, ""}, {1, VIRTIO_CONSOLE_PORT_ADD, 1, ""}});
}

TEST_CASE("virtio-console: a console port that is ready is named, opened and sized", "[virtio][console]") {
  Multiport f;
  f.device.set_window_size(0x1234, 0x5678);
  f.send(0, VIRTIO_CONSOLE_PORT_READY, 1);
  CHECK(f.messages() == std::vector<Multiport::Message>{{0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, ""},
                                                        {0, VIRTIO_CONSOLE_PORT_NAME, 1, "console"},
                                                        {0, VIRTIO_CONSOLE_PORT_OPEN, 1, ""},
                                                        {0, VIRTIO_CONSOLE_RESIZE, 0, "\x34\x12\x78\x56"}});
  f.device.set_window_size(0x0101, 0x0202);
  CHECK(f.messages() == std::vector<Multiport::Message>{{0, VIRTIO_CONSOLE_RESIZE, 0, "\x01\x01\x02\x02"}});
}

TEST_CASE("virtio-console: a channel is named and opened, and is no console", "[virtio][console]") {
  Multiport f;
  f.device.set_window_size(80, 25);
  f.send(1, VIRTIO_CONSOLE_PORT_READY, 1);
  CHECK(f.messages() == std::vector<Multiport::Message>{{1, VIRTIO_CONSOLE_PORT_NAME, 1, "org.example.agent"},
                                                        {1, VIRTIO_CONSOLE_PORT_OPEN, 1, ""}});
}

TEST_CASE("virtio-console: each port has queues of its own", "[virtio][console]") {
  Multiport f;
  f.queues[5]->chain().readable("to the agent").publish();
  f.queues[5]->next_used();
  f.queues[4]->chain().writable(16).publish();
  f.channel.type("from it");
  CHECK(f.channel.output == "to the agent");
  CHECK(f.text(*f.queues[4]) == "from it");
  CHECK(f.backend.output.empty());
}

TEST_CASE("virtio-console: control messages that name no port or nothing known are ignored", "[virtio][console]") {
  const auto [id, event, value] =
      GENERATE(table<uint32_t, uint16_t, uint16_t>({{0xffffffff, VIRTIO_CONSOLE_PORT_READY, 1},
                                                    {2, VIRTIO_CONSOLE_PORT_READY, 1},
                                                    {0, VIRTIO_CONSOLE_PORT_READY, 0},
                                                    {0, VIRTIO_CONSOLE_DEVICE_READY, 0},
                                                    {0xffffffff, VIRTIO_CONSOLE_PORT_OPEN, 1},
                                                    {0, VIRTIO_CONSOLE_PORT_OPEN, 1},
                                                    {0, VIRTIO_CONSOLE_PORT_ADD, 1},
                                                    {0, 0xffff, 0xffff}}));
  Multiport f;
  f.send(id, event, value);
  CHECK(f.messages().empty());
}

TEST_CASE("virtio-console: a message of one byte is ignored, and of one that is huge the rest", "[virtio][console]") {
  Multiport f;
  f.control_out().chain().readable("x").publish();
  CHECK(f.control_out().next_used()->length == 0);
  CHECK(f.messages().empty());
  // A megabyte of memory, over and over: 12 MiB in one chain.
  auto chain = f.control_out().chain();
  chain.readable_value(virtio_console_control{.id = 0, .event = VIRTIO_CONSOLE_DEVICE_READY, .value = 1});
  for (int i = 0; i < 12; ++i) chain.raw(GuestAddress{0x200000}, 1 << 20, 0);
  chain.publish();
  CHECK(f.control_out().next_used()->length == 0);
  CHECK(f.messages().size() == 2);
}

TEST_CASE("virtio-console: a driver that asks without end and takes no answer costs a bounded queue",
          "[virtio][console]") {
  Multiport f;
  f.messages();
  for (int i = 0; i < 10'000; ++i) f.send(0, VIRTIO_CONSOLE_PORT_READY, 1);
  size_t answers = f.messages().size();
  for (int i = 0; i < 100; ++i) {
    f.offer_control_buffers();
    answers += f.messages().size();
  }
  CHECK(answers == 16 + 256);
}

TEST_CASE("virtio-console: a control buffer that is too small is returned empty", "[virtio][console]") {
  Fixture f(true);
  f.queues[2]->chain().writable(4).publish();
  f.queues[3]
      ->chain()
      .readable_value(virtio_console_control{.event = VIRTIO_CONSOLE_DEVICE_READY, .value = 1})
      .publish();
  f.queues[3]->next_used();
  CHECK(f.queues[2]->next_used()->length == 0);
}

TEST_CASE("virtio-console: a reset forgets messages and ports that were ready", "[virtio][console]") {
  Multiport f;
  f.send(0, VIRTIO_CONSOLE_PORT_READY, 1);
  f.messages();
  f.stop();
  f.start();
  f.offer_control_buffers();
  f.device.set_window_size(80, 25);
  CHECK(f.messages().empty());
}

TEST_CASE("virtio-console: without F_MULTIPORT there is the first port alone", "[virtio][console]") {
  Multiport f;
  f.stop();
  f.features = ~feature(VIRTIO_CONSOLE_F_MULTIPORT);
  f.start();
  for (const size_t queue : {1u, 3u, 5u}) f.queues[queue]->chain().readable("text").publish();
  CHECK(f.output().next_used());
  CHECK_FALSE(f.queues[3]->next_used());
  CHECK_FALSE(f.queues[5]->next_used());
  CHECK(f.backend.output == "text");
  CHECK(f.channel.output.empty());
}

TEST_CASE("virtio-console: last words longer than a turn of the loop are whole, up to a bound", "[virtio][console]") {
  Fixture f;
  const size_t chains = GENERATE(2u, 3u);
  f.host.loop().run_ready();
  for (size_t i = 0; i < chains; ++i) f.output().chain().raw({0x180000}, 2 << 20, 0).publish();
  f.output().device_side().take_available();
  f.stop();
  CHECK(f.running == 0);
  CHECK(f.backend.output.size() >= size_t{4} << 20);
  CHECK(f.backend.output.size() <= size_t{5} << 20);
}
