// virtio-balloon gives back the pages that it is told, and no others.
#include "devices/virtio/balloon.h"

#include <array>
#include <catch2/catch.hpp>

#include "tests/support/balloon_fixture.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

constexpr size_t kActual = offsetof(virtio_balloon_config, actual);
constexpr size_t kPoison = offsetof(virtio_balloon_config, poison_val);

}  // namespace

TEST_CASE("virtio-balloon: pages that go in are given back, their neighbours are not", "[virtio][balloon]") {
  BalloonFixture f(0);
  f.driver.chain().readable_value(std::array<uint32_t, 6>{0x210, 0x211, 0x212, 0x221, 0x220, 0x2ff}).publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 0);
  for (const uint64_t page : {0x210u, 0x211u, 0x212u, 0x220u, 0x221u, 0x2ffu}) CHECK(f.given_back(page));
  CHECK(f.pages_given_back() == 6);
  CHECK(f.balloon.counts().discarded_bytes == 6 * kPage);
  CHECK(f.balloon.counts().bad_pages == 0);
}

TEST_CASE("virtio-balloon: pages that are no RAM are passed over and counted", "[virtio][balloon]") {
  BalloonFixture f(0);
  f.driver.chain()
      .readable_value(std::array<uint32_t, 6>{kEnd, 0xc0000, 0xffffffff, 0x210, 0xffffffff, kEnd - 1})
      .publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.balloon.counts().bad_pages == 4);
  CHECK(f.balloon.counts().discarded_bytes == 2 * kPage);
  CHECK(f.pages_given_back() == 1);
}

TEST_CASE("virtio-balloon: a run of pages may go over the end of RAM", "[virtio][balloon]") {
  BalloonFixture f(0);
  f.driver.chain().readable_value(std::array<uint32_t, 4>{kEnd - 2, kEnd - 1, kEnd, kEnd + 1}).publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.balloon.counts().bad_pages == 2);
  CHECK(f.balloon.counts().discarded_bytes == 2 * kPage);
}

TEST_CASE("virtio-balloon: what is less than a page number is none", "[virtio][balloon]") {
  const size_t length = GENERATE(1u, 2u, 3u);
  BalloonFixture f(0);
  const std::array<std::byte, 3> part{std::byte{0x10}, std::byte{0x02}, std::byte{0}};
  f.driver.chain().readable(std::span(part).first(length)).publish();
  f.driver.chain().readable_value(uint32_t{0x210}).readable(std::span(part).first(length)).publish();
  REQUIRE(f.driver.next_used());
  REQUIRE(f.driver.next_used());
  CHECK(f.balloon.counts().discarded_bytes == kPage);
}

TEST_CASE("virtio-balloon: a page number may be in two buffers", "[virtio][balloon]") {
  BalloonFixture f(0);
  const std::array<std::byte, 4> number{std::byte{0x10}, std::byte{0x02}};
  f.driver.chain().readable(std::span(number).first(1)).readable(std::span(number).last(3)).publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.given_back(0x210));
}

TEST_CASE("virtio-balloon: of a buffer of megabytes a bounded part is looked at", "[virtio][balloon]") {
  BalloonFixture f(0);
  f.host.memory().slice({kFirst * kPage}, 2 << 20)->fill(std::byte{0xff});
  f.driver.chain().raw({kFirst * kPage}, 2 << 20, 0).publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.balloon.counts().bad_pages == 65536);
  CHECK(f.driver.broken.empty());
}

TEST_CASE("virtio-balloon: others have their turn while it works", "[virtio][balloon]") {
  BalloonFixture f(0);
  f.host.memory().slice({kFirst * kPage}, 2 << 20)->fill(std::byte{0xff});
  f.driver.chain().raw({kFirst * kPage}, 2 << 20, 0).publish();
  uint64_t bad_when_we_ran = 0;
  f.host.loop().post([&] {
    f.host.loop().post([&] { f.host.loop().post([&] { bad_when_we_ran = f.balloon.counts().bad_pages; }); });
  });
  REQUIRE(f.driver.next_used());
  CHECK(bad_when_we_ran < 65536);
}

TEST_CASE("virtio-balloon: a reset ends its work on a large buffer", "[virtio][balloon]") {
  BalloonFixture f(0);
  f.host.memory().slice({kFirst * kPage}, 2 << 20)->fill(std::byte{0xff});
  f.driver.chain().raw({kFirst * kPage}, 2 << 20, 0).publish();
  f.driver.device_side().take_available();
  f.driver.device_side().stop();
  f.host.loop().run_ready();
  CHECK_FALSE(f.driver.device_side().busy());
  CHECK(f.balloon.counts().bad_pages < 65536);
}

TEST_CASE("virtio-balloon: pages that go out come back to the driver as they are", "[virtio][balloon]") {
  BalloonFixture f(1);
  f.driver.chain().readable_value(std::array<uint32_t, 2>{0x210, 0xffffffff}).publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.pages_given_back() == 0);
}

TEST_CASE("virtio-balloon: free pages are given back, in either place of the queue", "[virtio][balloon]") {
  const auto [queue, features] =
      GENERATE(table<size_t, uint64_t>({{3, kWithoutHints}, {4, kWithoutHints}, {4, kAllFeatures}}));
  BalloonFixture f(queue, features);
  f.driver.chain()
      .raw({0x210 * kPage}, 2 * kPage, VRING_DESC_F_WRITE)
      .raw({0x220 * kPage}, kPage, VRING_DESC_F_WRITE)
      .raw({0x220 * kPage}, kPage, VRING_DESC_F_WRITE)
      .publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 0);
  CHECK(f.pages_given_back() == 3);
}

TEST_CASE("virtio-balloon: of a free range only whole pages are given back", "[virtio][balloon]") {
  BalloonFixture f(4);
  f.driver.chain()
      .raw({0x210 * kPage + 1}, 3 * kPage - 2, VRING_DESC_F_WRITE)
      .raw({0x220 * kPage + 8}, kPage, VRING_DESC_F_WRITE)
      .raw({0x230 * kPage}, kPage - 1, VRING_DESC_F_WRITE)
      .publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.pages_given_back() == 1);
  CHECK(f.given_back(0x211));
}

TEST_CASE("virtio-balloon: readable buffers report nothing", "[virtio][balloon]") {
  BalloonFixture f(4);
  f.driver.chain().raw({0x210 * kPage}, kPage, 0).publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.pages_given_back() == 0);
}

TEST_CASE("virtio-balloon: reports without the feature are ignored", "[virtio][balloon]") {
  const size_t queue = GENERATE(3u, 4u);
  BalloonFixture f(queue, kAllFeatures & ~feature(VIRTIO_BALLOON_F_REPORTING));
  f.driver.chain().raw({0x210 * kPage}, kPage, VRING_DESC_F_WRITE).publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.pages_given_back() == 0);
}

TEST_CASE("virtio-balloon: free pages that are filled with a value keep it", "[virtio][balloon]") {
  BalloonFixture f(4);
  f.write_config(kPoison, 0xaaaaaaaa);
  f.driver.chain().raw({0x210 * kPage}, kPage, VRING_DESC_F_WRITE).publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.pages_given_back() == 0);
  f.write_config(kPoison, 0);
  f.driver.chain().raw({0x210 * kPage}, kPage, VRING_DESC_F_WRITE).publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.pages_given_back() == 1);
}

TEST_CASE("virtio-balloon: of hundreds of ranges others have their turn between", "[virtio][balloon]") {
  const size_t queue = GENERATE(3u, 4u);
  constexpr uint64_t kRanges = 1000;
  BalloonFixture f(queue, kAllFeatures, 1024);
  f.balloon.request_hints();
  f.driver.chain().readable_value(f.read_config(offsetof(virtio_balloon_config, free_page_hint_cmd_id))).publish();
  REQUIRE(f.driver.next_used());
  const auto done = [&] { return f.balloon.hints().bytes + f.balloon.counts().discarded_bytes; };
  DriverQueue::Chain chain = f.driver.chain();
  for (uint64_t i = 0; i < kRanges; ++i) chain.raw({(kFirst + i % kCount) * kPage}, kPage, VRING_DESC_F_WRITE);
  chain.publish();
  uint64_t done_when_we_ran = 0;
  f.host.loop().post([&] { f.host.loop().post([&] { f.host.loop().post([&] { done_when_we_ran = done(); }); }); });
  SECTION("and all of them are looked at") {
    REQUIRE(f.driver.next_used());
    CHECK(done_when_we_ran < kRanges * kPage);
    CHECK(done() == kRanges * kPage);
  }
  SECTION("and a reset ends the work") {
    f.driver.device_side().take_available();
    f.driver.device_side().stop();
    f.host.loop().run_ready();
    CHECK_FALSE(f.driver.device_side().busy());
    CHECK(done() < kRanges * kPage);
  }
}

TEST_CASE("virtio-balloon: statistics come when they are asked for, unknown ones ignored", "[virtio][balloon]") {
  BalloonFixture f(2);
  CHECK_FALSE(f.balloon.statistics());
  f.driver.chain()
      .readable_value(std::array<virtio_balloon_stat, 3>{
          {{.tag = VIRTIO_BALLOON_S_MEMFREE, .val = 7}, {.tag = 999, .val = 8}, {.tag = 0xffff, .val = 9}}})
      .publish();
  CHECK_FALSE(f.driver.next_used());  // kept
  REQUIRE(f.balloon.statistics());
  CHECK(f.balloon.statistics()->values[VIRTIO_BALLOON_S_MEMFREE] == 7u);
  CHECK_FALSE(f.balloon.statistics()->values[VIRTIO_BALLOON_S_MEMTOT]);
  int told = 0;
  f.balloon.request_statistics([&told] { ++told; });
  CHECK(f.driver.next_used());
  CHECK(told == 0);
  const auto before = f.balloon.statistics()->when;
  f.driver.chain().readable_value(virtio_balloon_stat{.tag = VIRTIO_BALLOON_S_MEMTOT, .val = 10}).publish();
  CHECK_FALSE(f.driver.next_used());
  CHECK_FALSE(f.balloon.statistics()->values[VIRTIO_BALLOON_S_MEMFREE]);
  CHECK(f.balloon.statistics()->values[VIRTIO_BALLOON_S_MEMTOT] == 10u);
  CHECK(f.balloon.statistics()->when >= before);
  CHECK(told == 1);
}

TEST_CASE("virtio-balloon: of megabytes of statistics the first are read", "[virtio][balloon]") {
  BalloonFixture f(2);
  f.host.memory().write_value(GuestAddress{kFirst * kPage},
                              virtio_balloon_stat{.tag = VIRTIO_BALLOON_S_SWAP_IN, .val = 3});
  f.driver.chain().raw({kFirst * kPage}, 2 << 20, 0).publish();
  f.host.loop().run_ready();
  REQUIRE(f.balloon.statistics());
  CHECK(f.balloon.statistics()->values[VIRTIO_BALLOON_S_SWAP_IN] == 3u);
}

TEST_CASE("virtio-balloon: a reset takes the buffer that it kept, and the others", "[virtio][balloon]") {
  BalloonFixture f(2);
  for (int i = 0; i < 3; ++i) f.driver.chain().readable_value(virtio_balloon_stat{.tag = 1, .val = 1}).publish();
  f.host.loop().run_ready();
  f.balloon.stopping();
  f.driver.device_side().stop();
  f.host.loop().run_ready();
  CHECK_FALSE(f.driver.device_side().busy());
  f.balloon.reset();
  CHECK_FALSE(f.balloon.statistics());
}

TEST_CASE("virtio-balloon: the driver learns of the target, and says how far it came", "[virtio][balloon]") {
  BalloonFixture f(0);
  CHECK(f.read_config(offsetof(virtio_balloon_config, num_pages)) == 256);
  unsigned changes = 0;
  f.balloon.change_config = [&](const VirtioDevice::Change& change) {
    ++changes;
    change();
  };
  f.balloon.set_target((2 << 20) + 1);
  CHECK(changes == 1);
  CHECK(f.balloon.target() == 2 << 20);
  CHECK(f.read_config(offsetof(virtio_balloon_config, num_pages)) == 512);
  f.write_config(kActual, 100);
  CHECK(f.balloon.actual() == 100 * kPage);
  CHECK(f.read_config(kActual) == 100);
}

TEST_CASE("virtio-balloon: an absurd size is never more than the memory", "[virtio][balloon]") {
  BalloonFixture f(0);
  f.write_config(kActual, 0xffffffff);
  CHECK(f.balloon.actual() == kMemory);
}

TEST_CASE("virtio-balloon: the driver cannot write what is not its own", "[virtio][balloon]") {
  BalloonFixture f(0);
  const std::array<std::byte, 16> ones{std::byte{0xff}};
  for (size_t offset = 0; offset < ones.size(); ++offset) {
    f.balloon.write_config(offset, std::span(ones).first(1));
    f.balloon.write_config(offset, std::span(ones).first(std::min<size_t>(8, ones.size() - offset)));
  }
  f.write_config(offsetof(virtio_balloon_config, num_pages), 7);
  f.write_config(offsetof(virtio_balloon_config, free_page_hint_cmd_id), 7);
  CHECK(f.balloon.target() == 1 << 20);
  CHECK(f.balloon.actual() <= kMemory);
  CHECK(f.read_config(offsetof(virtio_balloon_config, free_page_hint_cmd_id)) == 0);
}

TEST_CASE("virtio-balloon: a target above the memory is refused, and changes nothing", "[virtio][balloon]") {
  BalloonFixture f(0);
  CHECK_THROWS_WITH(f.balloon.set_target(kMemory + 1), Contains("larger than the guest's memory"));
  CHECK(f.balloon.target() == 1 << 20);
  f.balloon.set_target(kMemory);
  CHECK(f.balloon.target() == kMemory);
}

TEST_CASE("virtio-balloon: what the user does not want is not offered", "[virtio][balloon]") {
  const auto features = [](const BalloonConfig& config) { return VirtioBalloon(config, kMemory).traits().features; };
  CHECK(features({}) == kAllFeatures);
  CHECK(features({.deflate_on_oom = false}) == (kAllFeatures & ~feature(VIRTIO_BALLOON_F_DEFLATE_ON_OOM)));
  CHECK(features({.reporting = false}) ==
        (feature(VIRTIO_BALLOON_F_STATS_VQ) | feature(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) |
         feature(VIRTIO_BALLOON_F_FREE_PAGE_HINT)));
}
