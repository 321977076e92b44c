// What virtio-blk can be told to be: its cache, its configuration, the parts of its storage that are not needed.
#include "devices/virtio/block.h"

#include <catch2/catch.hpp>
#include <cstddef>
#include <memory>

#include "tests/support/block_fixture.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;

namespace {

using Kind = MemoryBackend::Kind;
using Fixture = BlockFixture;

}  // namespace

// ---- discard and write-zeroes

TEST_CASE("virtio-blk: a discard hands every segment on", "[virtio][block]") {
  Fixture f;
  CHECK(f.unmap(VIRTIO_BLK_T_DISCARD, {{0, 8, 0}, {100, 1, 0}, {kSectors, 0, 0}}) == VIRTIO_BLK_S_OK);
  REQUIRE(f.backend.calls.size() == 3);
  CHECK(f.backend.calls[0].length == 8 * 512);
  CHECK(f.backend.calls[1].kind == Kind::kDiscard);
  CHECK(f.backend.calls[1].offset == 100 * 512);
}

TEST_CASE("virtio-blk: one discard may cover 1 TiB", "[virtio][block]") {
  Fixture f;
  f.backend.reported_size = uint64_t{1} << 40;
  f.block.refresh_size();
  CHECK(f.unmap(VIRTIO_BLK_T_DISCARD, {{0, uint32_t{1} << 31, 0}}) == VIRTIO_BLK_S_OK);
  REQUIRE(f.backend.calls.size() == 1024);
  CHECK(f.backend.calls.back().offset + f.backend.calls.back().length == uint64_t{1} << 40);
}

TEST_CASE("virtio-blk: one segment outside fails the request before anything is done", "[virtio][block]") {
  Fixture f;
  const uint32_t type = GENERATE(uint32_t{VIRTIO_BLK_T_DISCARD}, uint32_t{VIRTIO_BLK_T_WRITE_ZEROES});
  const uint64_t sector = GENERATE(uint64_t{kSectors}, kSectors - 7, ~uint64_t{0}, uint64_t{1} << 55);
  CHECK(f.unmap(type, {{0, 8, 0}, {sector, 8, 0}}) == VIRTIO_BLK_S_IOERR);
  CHECK(f.backend.calls.empty());
}

TEST_CASE("virtio-blk: unknown flags of a segment are unsupported", "[virtio][block]") {
  Fixture f;
  CHECK(f.unmap(VIRTIO_BLK_T_DISCARD, {{0, 8, 2}}) == VIRTIO_BLK_S_UNSUPP);
  CHECK(f.unmap(VIRTIO_BLK_T_WRITE_ZEROES, {{0, 8, 0x80000000}}) == VIRTIO_BLK_S_UNSUPP);
  CHECK(f.backend.calls.empty());
}

TEST_CASE("virtio-blk: a discard with the unmap flag is unsupported", "[virtio][block]") {
  Fixture f;
  CHECK(f.unmap(VIRTIO_BLK_T_DISCARD, {{0, 8, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP}}) == VIRTIO_BLK_S_UNSUPP);
}

TEST_CASE("virtio-blk: write-zeroes unmaps only when told so", "[virtio][block]") {
  Fixture f;
  CHECK(f.unmap(VIRTIO_BLK_T_WRITE_ZEROES, {{0, 8, 0}, {8, 8, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP}}) == VIRTIO_BLK_S_OK);
  REQUIRE(f.backend.calls.size() == 2);
  CHECK(f.backend.calls[0].unmap == Unmap::kForbidden);
  CHECK(f.backend.calls[1].unmap == Unmap::kAllowed);
}

TEST_CASE("virtio-blk: segments beyond the limits of the configuration fail", "[virtio][block]") {
  Fixture f;
  const auto config = f.config();
  f.backend.reported_size = uint64_t{1} << 40;
  f.block.refresh_size();
  CHECK(f.unmap(VIRTIO_BLK_T_DISCARD, {config.max_discard_seg, {0, 1, 0}}) == VIRTIO_BLK_S_OK);
  CHECK(f.unmap(VIRTIO_BLK_T_DISCARD, {config.max_discard_seg + 1, {0, 1, 0}}) == VIRTIO_BLK_S_IOERR);
  CHECK(f.unmap(VIRTIO_BLK_T_WRITE_ZEROES, {{0, config.max_write_zeroes_sectors + 1, 0}}) == VIRTIO_BLK_S_IOERR);
}

TEST_CASE("virtio-blk: a discard without or with half a segment fails", "[virtio][block]") {
  Fixture f;
  const std::string segments = GENERATE(std::string(), std::string(8, '\0'), std::string(24, '\0'));
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_DISCARD)).readable(segments).writable(1).publish();
  CHECK(f.next_answer().status == VIRTIO_BLK_S_IOERR);
  CHECK(f.backend.calls.empty());
}

// ---- durability

TEST_CASE("virtio-blk: writes are stable for a driver that knows no flush", "[virtio][block]") {
  Fixture f({}, 0);
  CHECK(f.write(0) == VIRTIO_BLK_S_OK);
  CHECK(f.backend.calls[0].durability == Durability::kStable);
}

TEST_CASE("virtio-blk: writes are cached for a driver that flushes", "[virtio][block]") {
  Fixture f({}, kFlush);
  f.set_writeback(false);  // not negotiated, so without effect
  CHECK(f.write(0) == VIRTIO_BLK_S_OK);
  CHECK(f.backend.calls[0].durability == Durability::kCached);
}

TEST_CASE("virtio-blk: writes are stable while the driver chooses write-through", "[virtio][block]") {
  Fixture f;
  f.set_writeback(false);
  CHECK(f.write(0) == VIRTIO_BLK_S_OK);
  f.set_writeback(true);
  CHECK(f.write(0) == VIRTIO_BLK_S_OK);
  CHECK(f.backend.calls[0].durability == Durability::kStable);
  CHECK(f.backend.calls[1].durability == Durability::kCached);
}

TEST_CASE("virtio-blk: write-through is how a driver starts that can choose but not flush (§5.2.5.2)",
          "[virtio][block]") {
  Fixture f({}, kConfigWce);
  CHECK(f.config().wce == 0);
  CHECK(f.write(0) == VIRTIO_BLK_S_OK);
  CHECK(f.backend.calls[0].durability == Durability::kStable);
}

TEST_CASE("virtio-blk: a driver that cannot flush cannot choose write-back", "[virtio][block]") {
  Fixture f({}, GENERATE(as<uint64_t>(), kConfigWce, 0));
  f.set_writeback(true);
  CHECK(f.config().wce == 0);
  CHECK(f.write(0) == VIRTIO_BLK_S_OK);
  CHECK(f.backend.calls[0].durability == Durability::kStable);
}

TEST_CASE("virtio-blk: write-zeroes in write-through mode is followed by a flush", "[virtio][block]") {
  Fixture f;
  f.set_writeback(false);
  CHECK(f.unmap(VIRTIO_BLK_T_WRITE_ZEROES, {{0, 8, 0}}) == VIRTIO_BLK_S_OK);
  REQUIRE(f.backend.calls.size() == 2);
  CHECK(f.backend.calls[1].kind == Kind::kFlush);
}

TEST_CASE("virtio-blk: a reset forgets the cache mode", "[virtio][block]") {
  Fixture f;
  f.set_writeback(false);
  f.block.reset();
  CHECK(f.config().wce == 1);
}

// ---- configuration

TEST_CASE("virtio-blk: flush is offered always, changes only where they are possible", "[virtio][block]") {
  Fixture writable;
  Fixture fixed(read_only_disk(), {}, kFlush);
  const uint64_t changes = feature(VIRTIO_BLK_F_DISCARD) | feature(VIRTIO_BLK_F_WRITE_ZEROES);
  const uint64_t read_only = feature(VIRTIO_BLK_F_RO);
  const uint64_t caches = kFlush | kConfigWce;
  CHECK((writable.block.traits().features & (caches | changes | read_only)) == (caches | changes));
  CHECK((fixed.block.traits().features & (caches | changes | read_only)) == (caches | read_only));
}

TEST_CASE("virtio-blk: the configuration tells size, blocks and limits", "[virtio][block]") {
  Fixture f;
  const auto config = f.config();
  CHECK(config.capacity == kSectors);
  CHECK(config.seg_max == 254);
  CHECK(config.blk_size == 512);
  CHECK(config.physical_block_exp == 3);
  CHECK(config.num_queues == 2);
  CHECK(config.wce == 1);
  CHECK(config.discard_sector_alignment == 8);
  CHECK(f.block.traits().queue_sizes == std::vector<uint16_t>{256, 256});
}

TEST_CASE("virtio-blk: the driver can write nothing but the cache mode", "[virtio][block]") {
  Fixture f;
  const std::vector<std::byte> zeroes(f.block.traits().config_size);
  f.block.write_config(0, zeroes);
  const auto config = f.config();
  CHECK(config.wce == 0);
  CHECK(config.capacity == kSectors);
  CHECK(config.num_queues == 2);
}

TEST_CASE("virtio-blk: a block of 4096 bytes can be asked for", "[virtio][block]") {
  DiskConfig config;
  config.block_size = 4096;
  Fixture f(config);
  CHECK(f.config().blk_size == 4096);
  CHECK(f.config().physical_block_exp == 0);
  CHECK(f.config().capacity == kSectors);
}

TEST_CASE("virtio-blk: a size that is no multiple of the block asked for is refused", "[virtio][block]") {
  DiskConfig config;
  config.block_size = 4096;
  MemoryBackend backend(4096 + 512);
  CHECK_THROWS_AS(VirtioBlock(backend, config, "vda", 1), Error);
}

TEST_CASE("virtio-blk: storage that grew is announced and can be used", "[virtio][block]") {
  Fixture f;
  f.backend.storage_size = 2 * kSectors * 512;
  f.block.refresh_size();
  f.block.refresh_size();
  CHECK(f.config_changes == 1);
  CHECK(f.config().capacity == 2 * kSectors);
  CHECK(f.write(2 * kSectors - 1) == VIRTIO_BLK_S_OK);
}

TEST_CASE("virtio-blk: storage that shrank keeps its capacity", "[virtio][block]") {
  Fixture f;
  f.backend.storage_size = 512;
  f.block.refresh_size();
  CHECK(f.config_changes == 0);
  CHECK(f.config().capacity == kSectors);
}
