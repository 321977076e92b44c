// virtio-balloon takes hints of free pages from a driver that it has asked, and loses nothing.
#include "devices/virtio/balloon.h"

#include <array>
#include <catch2/catch.hpp>

#include "tests/support/balloon_fixture.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

// A driver that hints, and somebody who asks it to.
struct HintFixture : BalloonFixture {
  HintFixture() : BalloonFixture(3) {}

  // The number that the driver sees.
  uint32_t request() {
    balloon.request_hints([this] { ++told; });
    return command();
  }
  uint32_t command() const { return read_config(offsetof(virtio_balloon_config, free_page_hint_cmd_id)); }
  void say(uint32_t id) {
    driver.chain().readable_value(id).publish();
    REQUIRE(driver.next_used());
  }
  void hint(uint64_t page, uint32_t count = 1) {
    driver.chain().raw({page * kPage}, count * static_cast<uint32_t>(kPage), VRING_DESC_F_WRITE).publish();
    const auto used = driver.next_used();
    REQUIRE(used);
    CHECK(used->length == 0);
  }

  int told = 0;
};

}  // namespace

TEST_CASE("virtio-balloon: a driver that is asked hints what is free, and nothing is lost", "[virtio][balloon]") {
  HintFixture f;
  unsigned changes = 0;
  f.balloon.change_config = [&](const VirtioDevice::Change& change) {
    ++changes;
    change();
  };
  CHECK(f.command() == VIRTIO_BALLOON_CMD_ID_STOP);
  const uint32_t id = f.request();
  CHECK(id > VIRTIO_BALLOON_CMD_ID_DONE);
  CHECK(changes == 1);
  f.say(id);
  f.hint(0x210, 2);
  f.hint(0x220, 3);
  CHECK(f.balloon.hints().bytes == 5 * kPage);
  CHECK_FALSE(f.balloon.hints().complete);
  CHECK(f.told == 0);
  f.say(VIRTIO_BALLOON_CMD_ID_STOP);
  CHECK(f.told == 1);
  CHECK(f.balloon.hints().bytes == 5 * kPage);
  CHECK(f.balloon.hints().complete);
  CHECK(f.command() == VIRTIO_BALLOON_CMD_ID_DONE);
  CHECK(changes == 2);
  CHECK(f.bytes_as_they_were() == kCount * kPage);
  CHECK(f.balloon.counts().discarded_bytes == 0);

  const uint32_t next = f.request();
  CHECK(next != id);
  f.say(next);
  f.hint(0x210);
  f.say(VIRTIO_BALLOON_CMD_ID_STOP);
  CHECK(f.told == 2);
  CHECK(f.balloon.hints().bytes == kPage);
}

TEST_CASE("virtio-balloon: hints that nobody has asked for are ignored", "[virtio][balloon]") {
  HintFixture f;
  f.hint(0x210);
  f.say(VIRTIO_BALLOON_CMD_ID_STOP);
  f.say(VIRTIO_BALLOON_CMD_ID_DONE);
  f.hint(0x210);
  f.say(2);
  f.hint(0x210);
  f.say(VIRTIO_BALLOON_CMD_ID_STOP);
  CHECK(f.command() == VIRTIO_BALLOON_CMD_ID_STOP);

  const uint32_t id = f.request();
  f.hint(0x210);  // of which request?
  f.say(VIRTIO_BALLOON_CMD_ID_STOP);
  f.hint(0x210);
  f.say(id - 1);
  f.hint(0x210);
  f.say(VIRTIO_BALLOON_CMD_ID_STOP);
  f.say(id + 1);
  f.hint(0x210);
  f.say(VIRTIO_BALLOON_CMD_ID_STOP);
  CHECK(f.balloon.hints().bytes == 0);
  CHECK_FALSE(f.balloon.hints().complete);
  CHECK(f.told == 0);
  CHECK(f.command() == id);
}

TEST_CASE("virtio-balloon: who asks again has the driver go on under another number", "[virtio][balloon]") {
  HintFixture f;
  const uint32_t first = f.request();
  f.say(first);
  f.hint(0x210);
  const uint32_t second = f.request();
  CHECK(second != first);
  f.hint(0x220);
  f.say(VIRTIO_BALLOON_CMD_ID_STOP);
  CHECK(f.told == 0);
  CHECK(f.balloon.hints().bytes == kPage);
  f.say(second);
  f.hint(0x230);
  f.say(VIRTIO_BALLOON_CMD_ID_STOP);
  CHECK(f.told == 1);
  CHECK(f.balloon.hints().bytes == 2 * kPage);  // the driver keeps the first, and does not hint it again
}

TEST_CASE("virtio-balloon: a driver that does not come to an end is waited for no longer", "[virtio][balloon]") {
  HintFixture f;
  f.say(f.request());
  f.hint(0x210);
  f.balloon.end_hints();
  CHECK(f.command() == VIRTIO_BALLOON_CMD_ID_DONE);
  f.hint(0x220);
  f.say(VIRTIO_BALLOON_CMD_ID_STOP);
  CHECK(f.balloon.hints().bytes == kPage);
  CHECK_FALSE(f.balloon.hints().complete);
  CHECK(f.told == 0);
  f.balloon.end_hints();
  CHECK(f.command() == VIRTIO_BALLOON_CMD_ID_DONE);
}

TEST_CASE("virtio-balloon: hints of any shape change no memory", "[virtio][balloon]") {
  HintFixture f;
  const uint32_t id = f.request();
  f.say(id);
  const auto bytes = std::as_bytes(std::span(&id, 1));
  SECTION("a command that is cut off is none") {
    const size_t length = GENERATE(1u, 2u, 3u);
    f.driver.chain().readable(std::array<std::byte, 3>{}).raw({0x210 * kPage}, kPage, VRING_DESC_F_WRITE).publish();
    f.driver.chain().readable(bytes.first(length)).publish();
    REQUIRE(f.driver.next_used());
    REQUIRE(f.driver.next_used());
    CHECK(f.command() == id);
    CHECK(f.balloon.hints().bytes == kPage);
  }
  SECTION("a command may be in two buffers, and of what is with it nothing counts") {
    f.driver.chain()
        .readable(bytes.first(1))
        .readable(bytes.last(3))
        .raw({0x210 * kPage}, kPage, VRING_DESC_F_WRITE)
        .publish();
    REQUIRE(f.driver.next_used());
    f.hint(0x220);
    CHECK(f.balloon.hints().bytes == kPage);
  }
  SECTION("a command of megabytes begins with one") {
    f.host.memory().write_value(GuestAddress{1 << 20}, uint32_t{VIRTIO_BALLOON_CMD_ID_STOP});
    f.driver.chain().raw({1 << 20}, 1 << 20, 0).publish();
    REQUIRE(f.driver.next_used());
    CHECK(f.told == 1);
  }
  SECTION("all memory, the rings' own too, twice") {
    for (int i = 0; i < 2; ++i) f.hint(0, kEnd);
    CHECK(f.balloon.hints().bytes == 2 * kMemory);
  }
  SECTION("only whole pages count") {
    f.driver.chain()
        .raw({0x210 * kPage + 1}, 3 * kPage - 2, VRING_DESC_F_WRITE)
        .raw({0x220 * kPage + 8}, kPage, VRING_DESC_F_WRITE)
        .publish();
    REQUIRE(f.driver.next_used());
    CHECK(f.balloon.hints().bytes == kPage);
  }
  SECTION("what is no RAM goes back") {
    f.driver.chain().raw({kMemory}, kPage, VRING_DESC_F_WRITE).publish();
    f.driver.chain().raw({kMemory - kPage}, 2 * kPage, VRING_DESC_F_WRITE).publish();
    REQUIRE(f.driver.next_used());
    REQUIRE(f.driver.next_used());
    CHECK(f.balloon.hints().bytes == 0);
  }
  CHECK(f.driver.broken.empty());
  CHECK(f.bytes_as_they_were() == kCount * kPage);
}

TEST_CASE("virtio-balloon: a reset ends a request for hints, and the next driver is asked anew", "[virtio][balloon]") {
  HintFixture f;
  const uint32_t id = f.request();
  f.say(id);
  f.hint(0x210);
  f.balloon.stopping();
  CHECK_THROWS_WITH(f.balloon.request_hints(), Contains("does not tell what is free"));
  f.driver.device_side().stop();
  f.host.loop().run_ready();
  f.balloon.reset();
  CHECK(f.command() == VIRTIO_BALLOON_CMD_ID_STOP);
  CHECK(f.balloon.hints().bytes == 0);
  CHECK(f.told == 0);
  f.balloon.end_hints();
  CHECK(f.command() == VIRTIO_BALLOON_CMD_ID_STOP);

  DriverQueue driver(f.host, {.base = 0x20000});
  f.balloon.activate(kAllFeatures);
  f.host.loop().spawn(f.balloon.serve(3, driver.device_side()));
  const uint32_t next = f.request();
  CHECK(next != id);
  driver.chain().readable_value(next).publish();
  driver.chain().readable_value(uint32_t{VIRTIO_BALLOON_CMD_ID_STOP}).publish();
  REQUIRE(driver.next_used());
  CHECK(f.told == 1);
}

TEST_CASE("virtio-balloon: a driver that does not hint is not asked to", "[virtio][balloon]") {
  BalloonFixture f(0, kWithoutHints);
  CHECK_THROWS_WITH(f.balloon.request_hints(), Contains("does not tell what is free"));
  VirtioBalloon undriven({}, kMemory);
  CHECK_THROWS_WITH(undriven.request_hints(), Contains("does not tell what is free"));
  CHECK(f.read_config(offsetof(virtio_balloon_config, free_page_hint_cmd_id)) == VIRTIO_BALLOON_CMD_ID_STOP);
}

TEST_CASE("virtio-balloon: no request has a number with a meaning of its own", "[virtio][balloon]") {
  CHECK(VirtioBalloon::next_hint_id(0) == 2);
  CHECK(VirtioBalloon::next_hint_id(2) == 3);
  CHECK(VirtioBalloon::next_hint_id(0xfffffffe) == 0xffffffff);
  CHECK(VirtioBalloon::next_hint_id(0xffffffff) == 2);
}
