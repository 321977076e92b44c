// The split ring against honest and dishonest drivers. Row numbers: the cases of a hostile ring.
#include "devices/virtio/virtqueue.h"

#include <catch2/catch.hpp>
#include <functional>

#include "tests/support/driver_queue.h"

using namespace vmm;
using namespace vmm::test;

namespace {

// Serves a queue by returning every chain, having copied its readable bytes to its writable ones.
Task<void> echo(Virtqueue& queue, std::vector<std::string>& seen) {
  while (auto chain = co_await queue.next()) {
    std::string text(chain->readable_size(), '\0');
    chain->read_at(0, std::as_writable_bytes(std::span(text)));
    chain->write(std::as_bytes(std::span(text)));
    seen.push_back(std::move(text));
  }
  seen.emplace_back("stopped");
}

// Takes chains and keeps them.
Task<void> hoard(Virtqueue& queue, std::vector<DescriptorChain>& kept) {
  while (auto chain = co_await queue.next()) kept.push_back(std::move(*chain));
}

// Returns chains while a driver on another CPU goes on adding.
Task<void> echo_to_busy_driver(Virtqueue& queue, const std::function<void()>& add) {
  while (auto chain = co_await queue.next()) add();
}

struct Fixture {
  explicit Fixture(const DriverQueue::Options& options = {}) : driver(host, options) {
    host.loop().spawn(echo(driver.device_side(), seen));
  }
  FakeDeviceHost host;
  std::vector<std::string> seen;
  DriverQueue driver;
};

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

TEST_CASE("virtqueue: a chain reaches the device and comes back with the bytes written", "[virtio][queue]") {
  Fixture f;
  f.driver.chain().readable(std::string("hello")).writable(8).publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 5);
  CHECK(text_of(f.driver.bytes(used->writable[0])).substr(0, 5) == "hello");
  CHECK(f.driver.interrupts == 1);
}

TEST_CASE("virtqueue: indices wrap around 2^16", "[virtio][queue]") {
  Fixture f({.size = 4});
  for (int i = 0; i < 70000; ++i) {
    f.driver.chain().raw({0x20000}, 4, 0).raw({0x21000}, 4, VRING_DESC_F_WRITE).publish();
    REQUIRE(f.driver.next_used());
  }
  CHECK(f.driver.device_side().stats().chains == 70000);
}

TEST_CASE("virtqueue: an indirect table is followed, with the write flag ignored on its descriptor",
          "[virtio][queue]") {
  Fixture f;
  f.driver.chain()
      .readable(std::string("ab"))
      .readable(std::string("cd"))
      .writable(4)
      .publish_indirect(VRING_DESC_F_WRITE);
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 4);
  CHECK(f.seen == std::vector<std::string>{"abcd"});
}

TEST_CASE("virtqueue: a direct chain may end in one indirect descriptor", "[virtio][queue]") {
  Fixture f;
  const Buffer table = f.driver.allocate(16);
  const Buffer inner = f.driver.allocate(4);
  f.host.memory().write_value(table.address, vring_desc{inner.address.value, 4, VRING_DESC_F_WRITE, 0});
  f.driver.chain().readable(std::string("x")).raw(table.address, 16, VRING_DESC_F_INDIRECT).publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 1);
}

TEST_CASE("virtqueue: empty descriptors are passed over", "[virtio][queue]") {
  Fixture f;
  f.driver.chain()
      .raw({0x20000}, 0, 0)
      .readable(std::string("z"))
      .raw({0x20000}, 0, VRING_DESC_F_WRITE)
      .writable(1)
      .publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 1);
}

TEST_CASE("virtqueue: malformed chains go straight back with length 0 and the ring lives on", "[virtio][queue]") {
  Fixture f;
  const uint64_t end = FakeDeviceHost::kMemorySize;
  const auto bad = GENERATE_COPY(values<std::vector<vring_desc>>({
      {{0x20000, 4, VRING_DESC_F_NEXT, 0}},                                          // links to itself
      {{0x20000, 4, VRING_DESC_F_NEXT, 1}, {0x20000, 4, VRING_DESC_F_NEXT, 0}},      // a cycle
      {{0x20000, 4, VRING_DESC_F_NEXT, 16}},                                         // link past the table
      {{0x20000, 4, VRING_DESC_F_NEXT, 0xffff}},                                     // the same, at its largest
      {{0xfffffffffffff000, 0x2000, 0, 0}},                                          // wraps
      {{end - 1, 2, VRING_DESC_F_WRITE, 0}},                                         // past the end of RAM
      {{0xe0000000, 16, VRING_DESC_F_WRITE, 0}},                                     // a device's registers
      {{0x20000, 0, VRING_DESC_F_INDIRECT, 0}},                                      // empty table
      {{0x20000, 17, VRING_DESC_F_INDIRECT, 0}},                                     // ragged table
      {{0x20000, 16 * 65537, VRING_DESC_F_INDIRECT, 0}},                             // too long
      {{end - 16, 32, VRING_DESC_F_INDIRECT, 0}},                                    // past the end of RAM
      {{0xfffffffffffffff0, 32, VRING_DESC_F_INDIRECT, 0}},                          // wraps
      {{0x20000, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1}},                 // a table and a link at once
      {{0x20000, 4, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1}, {0x20000, 4, 0, 0}}  // readable after writable
  }));
  for (size_t slot = 0; slot < bad.size(); ++slot) f.driver.descriptor(static_cast<uint16_t>(slot), bad[slot]);
  f.driver.publish_head(0);
  f.driver.kick();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->id == 0);
  CHECK(used->length == 0);
  CHECK(f.driver.device_side().stats().bad_chains == 1);
  CHECK(f.driver.broken.empty());

  f.driver.descriptor(0, {0x30000, 4, 0, 0});
  f.driver.publish_head(0);
  f.driver.kick();
  CHECK(f.driver.next_used());
  CHECK(f.seen.size() == 1);
}

TEST_CASE("virtqueue: a chain of 4 GiB, of buffers that overlap, goes straight back", "[virtio][queue]") {
  Fixture f;
  const auto [entries, bad_chains] = GENERATE(table<uint32_t, uint64_t>({{1023, 0}, {1024, 1}}));
  for (uint32_t slot = 0; slot < entries; ++slot) {
    const auto flags = static_cast<uint16_t>(VRING_DESC_F_WRITE | (slot + 1 < entries ? VRING_DESC_F_NEXT : 0));
    const vring_desc all_memory{0, FakeDeviceHost::kMemorySize, flags, static_cast<uint16_t>(slot + 1)};
    f.host.memory().write_value(GuestAddress{0x20000 + slot * sizeof all_memory}, all_memory);
  }
  f.driver.chain().raw({0x20000}, static_cast<uint32_t>(entries * sizeof(vring_desc)), VRING_DESC_F_INDIRECT).publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.driver.device_side().stats().bad_chains == bad_chains);
}

TEST_CASE("virtqueue: an indirect table inside an indirect table is refused", "[virtio][queue]") {
  Fixture f;
  f.host.memory().write_value(GuestAddress{0x20000}, vring_desc{0x20000, 16, VRING_DESC_F_INDIRECT, 0});
  f.driver.chain().raw({0x20000}, 16, VRING_DESC_F_INDIRECT).publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 0);
}

TEST_CASE("virtqueue: an indirect table without the feature is refused", "[virtio][queue]") {
  Fixture f({.indirect = false});
  f.driver.chain().readable(std::string("x")).publish_indirect();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(f.driver.device_side().stats().bad_chains == 1);
}

TEST_CASE("virtqueue: an available entry beyond the table breaks the ring", "[virtio][queue]") {
  Fixture f;
  const auto head = GENERATE(uint16_t{16}, uint16_t{0xffff});
  f.driver.publish_head(head);
  f.driver.kick();
  CHECK_FALSE(f.driver.next_used());
  CHECK_FALSE(f.driver.broken.empty());
  CHECK(f.seen == std::vector<std::string>{"stopped"});
}

TEST_CASE("virtqueue: an available index that goes back breaks the ring", "[virtio][queue]") {
  Fixture f;
  f.driver.set_available_index(0xffff);
  f.driver.kick();
  CHECK_FALSE(f.driver.next_used());
  CHECK_FALSE(f.driver.broken.empty());
}

TEST_CASE("virtqueue: a head made available twice while in flight breaks the ring", "[virtio][queue]") {
  FakeDeviceHost host;
  DriverQueue driver(host);
  std::vector<DescriptorChain> kept;
  host.loop().spawn(hoard(driver.device_side(), kept));
  const uint16_t head = driver.chain().writable(16).publish();
  driver.publish_head(head);
  driver.kick();
  host.loop().run_ready();
  CHECK_FALSE(driver.broken.empty());
  REQUIRE(kept.size() == 1);
  kept.clear();  // the one in flight still comes back
  CHECK(driver.next_used());
}

TEST_CASE("virtqueue: unusable rings are not created", "[virtio][queue]") {
  FakeDeviceHost host;
  EventFd kick;
  const uint64_t end = FakeDeviceHost::kMemorySize;
  const auto config = GENERATE_COPY(values<VirtqueueConfig>({
      {.size = 0, .descriptors = {0x1000}, .available = {0x2000}, .used = {0x3000}},
      {.size = 3, .descriptors = {0x1000}, .available = {0x2000}, .used = {0x3000}},
      {.size = 32769, .descriptors = {0x1000}, .available = {0x2000}, .used = {0x3000}},
      {.size = 16, .descriptors = {0x1008}, .available = {0x2000}, .used = {0x3000}},
      {.size = 16, .descriptors = {0x1000}, .available = {0x2001}, .used = {0x3000}},
      {.size = 16, .descriptors = {0x1000}, .available = {0x2000}, .used = {0x3002}},
      {.size = 16, .descriptors = {end - 16}, .available = {0x2000}, .used = {0x3000}},
      {.size = 16, .descriptors = {0x1000}, .available = {end - 2}, .used = {0x3000}},
      {.size = 16, .descriptors = {0x1000}, .available = {0x2000}, .used = {0xfffffffffffffffc}},
  }));
  CHECK_FALSE(Virtqueue::create(
      host.memory(), host.loop(), kick, config, [] {}, [](const char*) {}));
}

TEST_CASE("virtqueue: with event index the driver is told only past its mark", "[virtio][queue]") {
  Fixture f({.event_index = true});
  f.driver.set_used_event(1);
  f.driver.chain().writable(1).publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.driver.interrupts == 0);
  f.driver.chain().writable(1).publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.driver.interrupts == 1);
}

TEST_CASE("virtqueue: an idle device asks for the next kick by its available event", "[virtio][queue]") {
  Fixture f({.event_index = true});
  f.driver.chain().writable(1).publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.driver.available_event() == 1);
}

TEST_CASE("virtqueue: a driver that wants no interrupt gets none", "[virtio][queue]") {
  Fixture f;
  f.driver.set_available_flags(0xffff);
  f.driver.chain().writable(1).publish();
  CHECK(f.driver.next_used());
  CHECK(f.driver.interrupts == 0);
}

TEST_CASE("virtqueue: several buffers returned in one turn make one interrupt", "[virtio][queue]") {
  Fixture f;
  for (int i = 0; i < 8; ++i) f.driver.chain().writable(1).publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.driver.interrupts == 1);
}

TEST_CASE("virtqueue: chains that are put back are taken again, in order", "[virtio][queue]") {
  FakeDeviceHost host;
  std::vector<std::string> seen;
  DriverQueue driver(host);
  for (const char* content : {"one", "two", "three"}) driver.chain().readable(std::string(content)).publish();
  Virtqueue& queue = driver.device_side();
  std::vector<DescriptorChain> taken;
  while (auto chain = queue.try_next()) taken.push_back(std::move(*chain));
  REQUIRE(taken.size() == 3);
  for (; taken.size() > 1; taken.pop_back()) queue.put_back(std::move(taken.back()));
  taken.clear();
  CHECK_FALSE(queue.busy());
  host.loop().spawn(echo(queue, seen));
  host.loop().run_ready();
  CHECK(seen == std::vector<std::string>{"two", "three"});
  CHECK(driver.next_used()->id == 0);
  CHECK(driver.next_used()->id == 1);
  CHECK(driver.next_used()->id == 2);
  CHECK_FALSE(driver.next_used());
}

TEST_CASE("virtqueue: a chain after which another was returned is returned, not put back", "[virtio][queue]") {
  FakeDeviceHost host;
  DriverQueue driver(host);
  for (const char* content : {"one", "two", "three"}) driver.chain().readable(std::string(content)).publish();
  Virtqueue& queue = driver.device_side();
  auto one = queue.try_next();
  queue.try_next().reset();
  auto three = queue.try_next();
  queue.put_back(std::move(*three));
  queue.put_back(std::move(*one));
  CHECK_FALSE(queue.busy());
  CHECK(driver.next_used()->id == 1);
  CHECK(driver.next_used()->id == 0);
  CHECK_FALSE(driver.next_used());
  CHECK(queue.try_next()->readable_size() == 5);
}

TEST_CASE("virtqueue: stopping ends the waiting task, and stopping again does nothing", "[virtio][queue]") {
  Fixture f;
  f.driver.device_side().stop();
  f.driver.device_side().stop();
  CHECK(f.seen == std::vector<std::string>{"stopped"});
}

TEST_CASE("virtqueue: kicks on an empty ring cost nothing but a look", "[virtio][queue]") {
  Fixture f;
  for (int i = 0; i < 1000; ++i) f.driver.kick();
  CHECK_FALSE(f.driver.next_used());
  CHECK(f.driver.device_side().stats().chains == 0);
}

TEST_CASE("virtqueue: a driver that never stops adding does not keep the turn from ending", "[virtio][queue]") {
  FakeDeviceHost host;
  DriverQueue driver(host, {.size = 4});
  const uint32_t size = GENERATE(4u, 1u << 20);
  const std::function<void()> add = [&] { driver.chain().raw({0x20000}, size, 0).publish(); };
  host.loop().spawn(echo_to_busy_driver(driver.device_side(), add));
  add();
  host.loop().at_end_of_turn([&] { host.loop().stop(); });
  host.loop().run();
  CHECK(driver.device_side().stats().chains <= Virtqueue::kTurnBytes / (size + Virtqueue::kChainBytes) + 1);
  driver.device_side().stop();
}

TEST_CASE("virtqueue: what a turn did not take comes in the next ones", "[virtio][queue]") {
  Fixture f({.size = 256});
  for (int i = 0; i < 64; ++i) f.driver.chain().raw({0x20000}, 1 << 20, 0).publish();
  f.driver.kick();
  f.host.loop().run_ready();
  CHECK(f.seen.size() == 64);
}

TEST_CASE("virtqueue: a chain longer than the queue is refused, unless it is one table", "[virtio][queue]") {
  Fixture f({.size = 8});
  const auto [direct, indirect, bad_chains] =
      GENERATE(table<size_t, uint32_t, uint64_t>({{0, 1024, 0}, {7, 1, 0}, {1, 7, 0}, {7, 2, 1}, {1, 8, 1}}));
  for (uint32_t i = 0; i < indirect; ++i) {
    const auto next = static_cast<uint16_t>(i + 1 < indirect ? VRING_DESC_F_NEXT : 0);
    f.host.memory().write_value(GuestAddress{0x20000 + i * sizeof(vring_desc)},
                                vring_desc{0x30000, 1, next, static_cast<uint16_t>(i + 1)});
  }
  DriverQueue::Chain chain = f.driver.chain();
  for (size_t i = 0; i < direct; ++i) chain.raw({0x30000}, 1, 0);
  chain.raw({0x20000}, static_cast<uint32_t>(indirect * sizeof(vring_desc)), VRING_DESC_F_INDIRECT).publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.driver.device_side().stats().bad_chains == bad_chains);
}

TEST_CASE("virtqueue: a device that has an answer to chains that are too long gives it in their last buffer",
          "[virtio][queue]") {
  Fixture f;
  f.driver.device_side().set_on_too_long([](DescriptorChain& chain) {
    const std::byte answer{'!'};
    chain.writable().back().copy_in({&answer, 1});
    chain.set_written(1);
  });
  constexpr uint16_t kPieces = 2002;
  for (uint16_t i = 0; i < kPieces; ++i) {
    const bool last = i + 1 == kPieces;
    const auto flags = static_cast<uint16_t>(last ? VRING_DESC_F_WRITE : VRING_DESC_F_NEXT);
    f.host.memory().write_value(GuestAddress{0x20000 + i * sizeof(vring_desc)},
                                vring_desc{last ? 0x40000u : 0x30000u, 1, flags, static_cast<uint16_t>(i + 1)});
  }
  f.driver.chain().raw({0x20000}, kPieces * sizeof(vring_desc), VRING_DESC_F_INDIRECT).publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 1);
  CHECK(f.host.memory().read<char>(GuestAddress{0x40000}) == '!');
  CHECK(f.seen.empty());
}
