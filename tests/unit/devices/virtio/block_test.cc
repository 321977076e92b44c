// virtio-blk's requests, from honest and dishonest drivers.
#include "devices/virtio/block.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>
#include <cstddef>

#include "tests/support/block_fixture.h"

using namespace vmm;
using namespace vmm::test;

namespace {

using Kind = MemoryBackend::Kind;
using Fixture = BlockFixture;

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

TEST_CASE("virtio-blk: it is busy while a request is with the storage", "[virtio][block]") {
  Fixture f;
  f.backend.holding = true;
  f.publish_read(0);
  f.host.loop().run_ready();
  CHECK(f.block.busy());
  f.backend.release_all();
  CHECK_FALSE(f.block.busy());
}

// ---- requests that succeed

TEST_CASE("virtio-blk: a read answers with the sectors and counts data and status", "[virtio][block]") {
  Fixture f;
  std::fill_n(f.backend.content.begin() + 7 * 512, 512, std::byte{'x'});
  f.publish_read(7);
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 513);
  CHECK(text_of(f.driver.bytes(used->writable[0])) == std::string(512, 'x'));
  CHECK(f.driver.bytes(used->writable[1])[0] == std::byte{VIRTIO_BLK_S_OK});
  CHECK(f.block.stats().reads == 1);
  CHECK(f.block.stats().bytes_read == 512);
}

TEST_CASE("virtio-blk: a write stores the sectors and counts the status only", "[virtio][block]") {
  Fixture f;
  f.driver.chain()
      .readable_value(header(VIRTIO_BLK_T_OUT, 3))
      .readable(std::string(512, 'a'))
      .readable(std::string(512, 'b'))
      .writable(1)
      .publish();
  const auto answer = f.next_answer();
  CHECK(answer.status == VIRTIO_BLK_S_OK);
  CHECK(answer.length == 1);
  CHECK(f.backend.content[3 * 512 - 1] == std::byte{0});
  CHECK(f.backend.content[3 * 512] == std::byte{'a'});
  CHECK(f.backend.content[5 * 512 - 1] == std::byte{'b'});
  CHECK(f.backend.content[5 * 512] == std::byte{0});
  CHECK(f.block.stats().bytes_written == 1024);
}

TEST_CASE("virtio-blk: a header may be spread over descriptors", "[virtio][block]") {
  Fixture f;
  const virtio_blk_outhdr whole = header(VIRTIO_BLK_T_OUT, 5);
  const auto bytes = std::as_bytes(std::span(&whole, 1));
  f.driver.chain()
      .readable(bytes.first(1))
      .readable(bytes.subspan(1, 8))
      .readable(bytes.subspan(9))
      .readable(std::string(512, 'h'))
      .writable(1)
      .publish();
  CHECK(f.next_answer().status == VIRTIO_BLK_S_OK);
  CHECK(f.backend.content[5 * 512] == std::byte{'h'});
}

TEST_CASE("virtio-blk: header and data may share a descriptor", "[virtio][block]") {
  Fixture f;
  const virtio_blk_outhdr head = header(VIRTIO_BLK_T_OUT, 5);
  std::string text(reinterpret_cast<const char*>(&head), sizeof head);
  f.driver.chain().readable(text + std::string(512, 'd')).writable(1).publish();
  CHECK(f.next_answer().status == VIRTIO_BLK_S_OK);
  CHECK(f.backend.content[5 * 512] == std::byte{'d'});
  CHECK(f.backend.content[6 * 512 - 1] == std::byte{'d'});
}

TEST_CASE("virtio-blk: data and status may share a descriptor", "[virtio][block]") {
  Fixture f;
  f.backend.content[0] = std::byte{'s'};
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_IN)).writable(513).publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 513);
  CHECK(f.driver.bytes(used->writable[0])[0] == std::byte{'s'});
  CHECK(f.driver.bytes(used->writable[0])[512] == std::byte{VIRTIO_BLK_S_OK});
}

TEST_CASE("virtio-blk: data may be cut anywhere", "[virtio][block]") {
  Fixture f;
  std::ranges::generate(f.backend.content, [n = 0]() mutable { return static_cast<std::byte>(n++ % 251); });
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_IN)).writable(1).writable(510).writable(2).publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(f.driver.bytes(used->writable[0])[0] == f.backend.content[0]);
  CHECK(f.driver.bytes(used->writable[1])[509] == f.backend.content[510]);
  CHECK(f.driver.bytes(used->writable[2])[0] == f.backend.content[511]);
  CHECK(f.driver.bytes(used->writable[2])[1] == std::byte{VIRTIO_BLK_S_OK});
}

TEST_CASE("virtio-blk: a chain in an indirect table is served", "[virtio][block]") {
  Fixture f;
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_IN)).writable(512).writable(1).publish_indirect();
  CHECK(f.next_answer().length == 513);
}

TEST_CASE("virtio-blk: the last sector can be written", "[virtio][block]") {
  Fixture f;
  CHECK(f.write(kSectors - 1) == VIRTIO_BLK_S_OK);
}

TEST_CASE("virtio-blk: a flush ignores data and sector", "[virtio][block]") {
  Fixture f;
  f.driver.chain()
      .readable_value(header(VIRTIO_BLK_T_FLUSH, 99999))
      .readable(std::string("data"))
      .writable(1)
      .publish();
  CHECK(f.next_answer().status == VIRTIO_BLK_S_OK);
  REQUIRE(f.backend.calls.size() == 1);
  CHECK(f.backend.calls[0].kind == Kind::kFlush);
  CHECK(f.block.stats().flushes == 1);
}

TEST_CASE("virtio-blk: the serial number is the disk's name unless chosen", "[virtio][block]") {
  Fixture f;
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_GET_ID)).writable(20).writable(1).publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 21);
  CHECK(text_of(f.driver.bytes(used->writable[0])) == "vda" + std::string(17, '\0'));
}

TEST_CASE("virtio-blk: a chosen serial number may fill all 20 bytes", "[virtio][block]") {
  DiskConfig config;
  config.serial = "12345678901234567890";
  Fixture f(config);
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_GET_ID)).writable(20).writable(1).publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(text_of(f.driver.bytes(used->writable[0])) == "12345678901234567890");
}

// ---- requests that fail

TEST_CASE("virtio-blk: a sector past the end fails, however far", "[virtio][block]") {
  Fixture f;
  const uint64_t sector = GENERATE(uint64_t{kSectors}, uint64_t{1} << 55, (uint64_t{1} << 55) + 1, ~uint64_t{0});
  const uint32_t type = GENERATE(uint32_t{VIRTIO_BLK_T_IN}, uint32_t{VIRTIO_BLK_T_OUT});
  auto chain = f.driver.chain();
  chain.readable_value(header(type, sector));
  chain.raw({0x100000}, 512, type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0).writable(1).publish();
  const auto answer = f.next_answer();
  CHECK(answer.status == VIRTIO_BLK_S_IOERR);
  CHECK(answer.length == 1);
  CHECK(f.backend.calls.empty());
}

TEST_CASE("virtio-blk: a write that ends outside writes nothing", "[virtio][block]") {
  Fixture f;
  CHECK(f.write(kSectors - 1, 1024) == VIRTIO_BLK_S_IOERR);
  CHECK(f.backend.calls.empty());
  CHECK(f.block.stats().errors == 1);
}

TEST_CASE("virtio-blk: data that is no whole sector fails", "[virtio][block]") {
  Fixture f;
  CHECK(f.write(0, 511) == VIRTIO_BLK_S_IOERR);
  CHECK(f.write(0, 513) == VIRTIO_BLK_S_IOERR);
  CHECK(f.backend.calls.empty());
}

TEST_CASE("virtio-blk: a chain of more than 4 GiB comes straight back, as an error", "[virtio][block]") {
  Fixture f;
  f.backend.reported_size = uint64_t{1} << 40;
  f.block.refresh_size();
  // 1100 times the same 4 MiB, some in the ring and most in an indirect table.
  const uint32_t all = FakeDeviceHost::kMemorySize;
  std::vector<vring_desc> table(1000, {0, all, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 0});
  for (size_t i = 0; i < table.size(); ++i) table[i].next = static_cast<uint16_t>(i + 1);
  table.back() = {0x100000, 1, VRING_DESC_F_WRITE, 0};
  const Buffer place = f.driver.allocate(static_cast<uint32_t>(table.size() * sizeof(vring_desc)));
  f.host.memory().write(place.address, std::as_bytes(std::span(table)));
  auto chain = f.driver.chain();
  chain.readable_value(header(VIRTIO_BLK_T_IN));
  for (int i = 0; i < 100; ++i) chain.raw({0}, all, VRING_DESC_F_WRITE);
  chain.raw(place.address, place.size, VRING_DESC_F_INDIRECT).publish();
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->length == 1);
  CHECK(f.host.memory().read<uint8_t>(GuestAddress{0x100000}) == VIRTIO_BLK_S_IOERR);
  CHECK(f.backend.calls.empty());
}

TEST_CASE("virtio-blk: a header of less than 16 bytes fails", "[virtio][block]") {
  Fixture f;
  f.driver.chain().readable(std::string(15, '\0')).writable(513).publish();
  const auto answer = f.next_answer();
  CHECK(answer.status == VIRTIO_BLK_S_IOERR);
  CHECK(answer.length == 1);
}

TEST_CASE("virtio-blk: a chain with no place for a status is returned and the next served", "[virtio][block]") {
  Fixture f;
  f.driver.chain().readable(std::string(3, '\0')).publish();
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_OUT)).readable(std::string(513, 'x')).publish();
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_FLUSH)).raw({0x100000}, 0, VRING_DESC_F_WRITE).publish();
  f.publish_read(0);
  CHECK(f.next_answer().length == 0);
  CHECK(f.next_answer().length == 0);
  CHECK(f.next_answer().length == 0);
  CHECK(f.next_answer().length == 513);
  CHECK(f.driver.broken.empty());
  CHECK(f.block.stats().errors == 3);
}

TEST_CASE("virtio-blk: a read with data for the device fails", "[virtio][block]") {
  Fixture f;
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_IN)).readable(std::string(512, 'x')).writable(1).publish();
  CHECK(f.next_answer().status == VIRTIO_BLK_S_IOERR);
  CHECK(f.backend.calls.empty());
}

TEST_CASE("virtio-blk: a write with buffers for the driver fails", "[virtio][block]") {
  Fixture f;
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_OUT)).writable(512).writable(1).publish();
  CHECK(f.next_answer().status == VIRTIO_BLK_S_IOERR);
  CHECK(f.backend.calls.empty());
}

TEST_CASE("virtio-blk: types that are not offered are unsupported", "[virtio][block]") {
  Fixture f;
  const uint32_t type = GENERATE(2u, 3u, 5u, 14u, 0x80000000u, 0x80000001u, 0xffffffffu);
  f.driver.chain().readable_value(header(type)).readable(std::string(512, 'x')).writable(1).publish();
  const auto answer = f.next_answer();
  CHECK(answer.status == VIRTIO_BLK_S_UNSUPP);
  CHECK(answer.length == 1);
  CHECK(f.backend.calls.empty());
}

TEST_CASE("virtio-blk: a read-only disk refuses to be changed, but flushes and reads", "[virtio][block]") {
  Fixture f(read_only_disk(), {}, kFlush);  // the driver did not take note of F_RO
  CHECK(f.write(0) == VIRTIO_BLK_S_IOERR);
  CHECK(f.unmap(VIRTIO_BLK_T_DISCARD, {{0, 8, 0}}) == VIRTIO_BLK_S_IOERR);
  CHECK(f.unmap(VIRTIO_BLK_T_WRITE_ZEROES, {{0, 8, 0}}) == VIRTIO_BLK_S_IOERR);
  CHECK(f.backend.calls.empty());
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_FLUSH)).writable(1).publish();
  CHECK(f.next_answer().status == VIRTIO_BLK_S_OK);
  f.publish_read(0);
  CHECK(f.next_answer().status == VIRTIO_BLK_S_OK);
}

TEST_CASE("virtio-blk: a read that fails on its way counts what has come", "[virtio][block]") {
  Fixture f;
  f.backend.error = EIO;
  f.backend.read_before_error = 700;
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_IN)).writable(512).writable(512).writable(1).publish();
  const auto answer = f.next_answer();
  CHECK(answer.status == VIRTIO_BLK_S_IOERR);
  CHECK(answer.length == 701);
}

TEST_CASE("virtio-blk: what the storage cannot do becomes IOERR, and the status is all that counts",
          "[virtio][block]") {
  Fixture f;
  f.backend.error = GENERATE(EIO, ENOSPC, EFBIG);
  const uint32_t type = GENERATE(uint32_t{VIRTIO_BLK_T_IN}, uint32_t{VIRTIO_BLK_T_FLUSH});
  auto chain = f.driver.chain();
  chain.readable_value(header(type)).writable(512).writable(1).publish();
  const auto answer = f.next_answer();
  CHECK(answer.status == VIRTIO_BLK_S_IOERR);
  CHECK(answer.length == 1);
  CHECK(f.write(0) == VIRTIO_BLK_S_IOERR);
  CHECK(f.block.stats().errors == 2);
  CHECK(f.block.stats().bytes_read == 0);
}

TEST_CASE("virtio-blk: a header that changes after it was read changes nothing", "[virtio][block]") {
  Fixture f;
  f.backend.holding = true;
  const Buffer head = f.driver.allocate(sizeof(virtio_blk_outhdr));
  f.host.memory().write_value(head.address, header(VIRTIO_BLK_T_IN, 1));
  f.driver.chain().raw(head.address, head.size, 0).writable(512).writable(1).publish();
  f.host.loop().run_ready();
  f.host.memory().write_value(head.address, header(VIRTIO_BLK_T_OUT, 2));
  f.backend.release_all();
  CHECK(f.next_answer().length == 513);
  REQUIRE(f.backend.calls.size() == 1);
  CHECK(f.backend.calls[0].offset == 512);
}

// ---- many requests at once

TEST_CASE("virtio-blk: requests are with the storage at once and end in any order", "[virtio][block]") {
  Fixture f;
  f.backend.holding = true;
  for (uint64_t sector = 0; sector < 40; ++sector) f.publish_read(sector);
  f.host.loop().run_ready();
  CHECK(f.backend.held.size() == 40);
  f.backend.release(39);
  const auto used = f.driver.next_used();
  REQUIRE(used);
  CHECK(used->id == 39 * 3);
  f.backend.release_all();
}

TEST_CASE("virtio-blk: more requests than it takes at once are all served", "[virtio][block]") {
  Fixture f;
  f.backend.holding = true;
  for (int i = 0; i < 250; ++i)
    f.driver.chain().readable_value(header(VIRTIO_BLK_T_FLUSH)).writable(1).publish_indirect();
  f.host.loop().run_ready();
  CHECK(f.backend.held.size() < 250);
  f.backend.release_all();
  for (int i = 0; i < 250; ++i) CHECK(f.next_answer().status == VIRTIO_BLK_S_OK);
}

TEST_CASE("virtio-blk: a stop waits for requests under way, and takes no new ones", "[virtio][block]") {
  Fixture f;
  f.backend.holding = true;
  f.publish_read(0);
  f.publish_read(1);
  f.host.loop().run_ready();
  f.block.stopping();
  f.driver.device_side().stop();
  f.publish_read(2);
  f.backend.release(0);
  CHECK_FALSE(f.ended);
  f.backend.release(0);
  f.host.loop().run_ready();
  CHECK(f.ended);
  CHECK(f.backend.calls.size() == 2);
  CHECK(f.next_answer().length == 513);
  CHECK(f.next_answer().length == 513);
}

TEST_CASE("virtio-blk: queues are served side by side", "[virtio][block]") {
  Fixture f;
  f.block.activate(feature(VIRTIO_BLK_F_MQ));
  DriverQueue second(f.host, {.base = 0x200000});
  f.host.loop().spawn(f.block.serve(1, second.device_side()));
  second.chain().readable_value(header(VIRTIO_BLK_T_IN)).writable(512).writable(1).publish();
  f.publish_read(0);
  CHECK(f.next_answer().length == 513);
  const auto used = second.next_used();
  REQUIRE(used);
  CHECK(used->length == 513);
}

TEST_CASE("virtio-blk: without F_MQ the first queue is the only one", "[virtio][block]") {
  Fixture f;
  DriverQueue second(f.host, {.base = 0x200000});
  f.host.loop().spawn(f.block.serve(1, second.device_side()));
  second.chain().readable_value(header(VIRTIO_BLK_T_IN)).writable(512).writable(1).publish();
  CHECK_FALSE(second.next_used());
}

TEST_CASE("virtio-blk: a long request is done in parts, and a stop waits for one", "[virtio][block]") {
  Fixture f;
  f.owned_backend->reported_size = uint64_t{1} << 40;
  f.block.refresh_size();
  f.backend.holding = true;
  f.backend.content.resize(size_t{8} << 20);
  f.driver.chain()
      .readable_value(header(VIRTIO_BLK_T_IN))
      .raw({0x280000}, 1 << 20, VRING_DESC_F_WRITE)
      .raw({0x200000}, 2 << 20, VRING_DESC_F_WRITE)
      .writable(1)
      .publish();
  f.host.loop().run_ready();
  REQUIRE(f.backend.calls.size() == 1);
  CHECK(f.backend.calls[0].length == 2 << 20);
  f.block.stopping();
  f.driver.device_side().stop();
  f.backend.release(0);
  f.host.loop().run_ready();
  CHECK(f.ended);
  CHECK(f.backend.calls.size() == 1);
}

TEST_CASE("virtio-blk: zeroes are written in parts, and a stop waits for one", "[virtio][block]") {
  Fixture f;
  f.owned_backend->reported_size = uint64_t{1} << 40;
  f.block.refresh_size();
  f.backend.content.resize(size_t{64} << 20);
  f.backend.holding = true;
  const virtio_blk_discard_write_zeroes segment{.sector = 0, .num_sectors = 64 << 11, .flags = 0};
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_WRITE_ZEROES)).readable_value(segment).writable(1).publish();
  f.host.loop().run_ready();
  f.block.stopping();
  f.driver.device_side().stop();
  f.backend.release(0);
  f.host.loop().run_ready();
  CHECK(f.ended);
  REQUIRE(f.backend.calls.size() == 1);
  CHECK(f.backend.calls[0].length == 16 << 20);
}

TEST_CASE("virtio-blk: a request of too many pieces fails, and says so in its status", "[virtio][block]") {
  Fixture f;
  constexpr uint16_t kPieces = 2002;
  f.host.memory().write_value(GuestAddress{0x300000}, header(VIRTIO_BLK_T_IN));
  for (uint16_t i = 0; i < kPieces; ++i) {
    vring_desc piece{0x310000, 512, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, static_cast<uint16_t>(i + 1)};
    if (i == 0) piece = {0x300000, sizeof(virtio_blk_outhdr), VRING_DESC_F_NEXT, 1};
    if (i + 1 == kPieces) piece = {0x320000, 1, VRING_DESC_F_WRITE, 0};
    f.host.memory().write_value(GuestAddress{0x330000 + i * sizeof piece}, piece);
  }
  f.driver.chain().raw({0x330000}, kPieces * sizeof(vring_desc), VRING_DESC_F_INDIRECT).publish();
  REQUIRE(f.driver.next_used());
  CHECK(f.host.memory().read<uint8_t>(GuestAddress{0x320000}) == VIRTIO_BLK_S_IOERR);
  CHECK(f.backend.calls.empty());
}
