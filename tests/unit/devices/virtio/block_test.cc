// virtio-blk against honest and dishonest drivers. Row numbers: reliability.md.
#include "devices/virtio/block.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>
#include <cstddef>

#include "tests/support/driver_queue.h"
#include "tests/support/memory_backend.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;

namespace {

using Kind = MemoryBackend::Kind;

constexpr uint64_t kSectors = 2048;
constexpr uint64_t kFlush = feature(VIRTIO_BLK_F_FLUSH);
constexpr uint64_t kConfigWce = feature(VIRTIO_BLK_F_CONFIG_WCE);

virtio_blk_outhdr header(uint32_t type, uint64_t sector = 0) { return {.type = type, .ioprio = 0, .sector = sector}; }

struct Fixture {
  explicit Fixture(const DiskConfig& config = {}, uint64_t features = kFlush | kConfigWce)
      : Fixture(std::make_unique<MemoryBackend>(kSectors * 512), config, features) {}
  Fixture(std::unique_ptr<MemoryBackend> storage, const DiskConfig& config, uint64_t features)
      : owned_backend(std::move(storage)),
        backend(*owned_backend),
        block(backend, config, "vda", 2),
        driver(host, {.size = 256}) {
    block.change_config = [this](const VirtioDevice::Change& change) {
      change();
      ++config_changes;
    };
    block.negotiated(features);
    host.loop().spawn(block.serve(0, driver.device_side()), [this] { ended = true; });
  }

  virtio_blk_config config() const {
    virtio_blk_config config{};
    block.read_config(0, std::as_writable_bytes(std::span(&config, 1)).first(block.traits().config_size));
    return config;
  }
  void set_writeback(bool on) {
    const std::byte value{on};
    block.write_config(offsetof(virtio_blk_config, wce), {&value, 1});
  }
  // The status byte, and the used length.
  struct Answer {
    int status = -1;
    uint32_t length = 0;
  };
  Answer next_answer() {
    const auto used = driver.next_used();
    REQUIRE(used);
    if (used->length == 0) return {-1, 0};
    return {std::to_integer<int>(driver.bytes(used->writable.back()).back()), used->length};
  }
  int write(uint64_t sector, uint32_t bytes = 512) {
    driver.chain()
        .readable_value(header(VIRTIO_BLK_T_OUT, sector))
        .readable(std::string(bytes, 'w'))
        .writable(1)
        .publish();
    return next_answer().status;
  }
  int unmap(uint32_t type, const std::vector<virtio_blk_discard_write_zeroes>& segments) {
    driver.chain().readable_value(header(type)).readable(std::as_bytes(std::span(segments))).writable(1).publish();
    return next_answer().status;
  }
  void publish_read(uint64_t sector) {
    driver.chain().readable_value(header(VIRTIO_BLK_T_IN, sector)).writable(512).writable(1).publish();
  }

  FakeDeviceHost host;
  std::unique_ptr<MemoryBackend> owned_backend;
  MemoryBackend& backend;
  VirtioBlock block;
  DriverQueue driver;
  unsigned config_changes = 0;
  bool ended = false;
};

std::unique_ptr<MemoryBackend> read_only_disk() {
  auto backend = std::make_unique<MemoryBackend>(kSectors * 512);
  backend->is_read_only = true;
  return backend;
}

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

TEST_CASE("virtio-blk: a header may be spread over descriptors (Q19)", "[virtio][block]") {
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

TEST_CASE("virtio-blk: header and data may share a descriptor (Q19)", "[virtio][block]") {
  Fixture f;
  const virtio_blk_outhdr head = header(VIRTIO_BLK_T_OUT, 5);
  std::string text(reinterpret_cast<const char*>(&head), sizeof head);
  f.driver.chain().readable(text + std::string(512, 'd')).writable(1).publish();
  CHECK(f.next_answer().status == VIRTIO_BLK_S_OK);
  CHECK(f.backend.content[5 * 512] == std::byte{'d'});
  CHECK(f.backend.content[6 * 512 - 1] == std::byte{'d'});
}

TEST_CASE("virtio-blk: data and status may share a descriptor (Q19)", "[virtio][block]") {
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

TEST_CASE("virtio-blk: a flush ignores data and sector (B10)", "[virtio][block]") {
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

TEST_CASE("virtio-blk: a sector past the end fails, however far (B1)", "[virtio][block]") {
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

TEST_CASE("virtio-blk: a write that ends outside writes nothing (B2)", "[virtio][block]") {
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

TEST_CASE("virtio-blk: a chain of more than 4 GiB comes straight back (E2)", "[virtio][block]") {
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
  CHECK(f.next_answer().length == 0);
  CHECK(f.backend.calls.empty());
}

TEST_CASE("virtio-blk: a header of less than 16 bytes fails (B4)", "[virtio][block]") {
  Fixture f;
  f.driver.chain().readable(std::string(15, '\0')).writable(513).publish();
  const auto answer = f.next_answer();
  CHECK(answer.status == VIRTIO_BLK_S_IOERR);
  CHECK(answer.length == 1);
}

TEST_CASE("virtio-blk: a chain with no place for a status is returned and the next served (B4, B5)",
          "[virtio][block]") {
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

TEST_CASE("virtio-blk: a read with data for the device fails (B7)", "[virtio][block]") {
  Fixture f;
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_IN)).readable(std::string(512, 'x')).writable(1).publish();
  CHECK(f.next_answer().status == VIRTIO_BLK_S_IOERR);
  CHECK(f.backend.calls.empty());
}

TEST_CASE("virtio-blk: a write with buffers for the driver fails (B7)", "[virtio][block]") {
  Fixture f;
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_OUT)).writable(512).writable(1).publish();
  CHECK(f.next_answer().status == VIRTIO_BLK_S_IOERR);
  CHECK(f.backend.calls.empty());
}

TEST_CASE("virtio-blk: types that are not offered are unsupported (B8)", "[virtio][block]") {
  Fixture f;
  const uint32_t type = GENERATE(2u, 3u, 5u, 14u, 0x80000000u, 0x80000001u, 0xffffffffu);
  f.driver.chain().readable_value(header(type)).readable(std::string(512, 'x')).writable(1).publish();
  const auto answer = f.next_answer();
  CHECK(answer.status == VIRTIO_BLK_S_UNSUPP);
  CHECK(answer.length == 1);
  CHECK(f.backend.calls.empty());
}

TEST_CASE("virtio-blk: a read-only disk refuses to be changed, but flushes and reads (B11, D13)", "[virtio][block]") {
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

TEST_CASE("virtio-blk: a read that fails on its way counts what has come (Q32)", "[virtio][block]") {
  Fixture f;
  f.backend.error = EIO;
  f.backend.read_before_error = 700;
  f.driver.chain().readable_value(header(VIRTIO_BLK_T_IN)).writable(512).writable(512).writable(1).publish();
  const auto answer = f.next_answer();
  CHECK(answer.status == VIRTIO_BLK_S_IOERR);
  CHECK(answer.length == 701);
}

TEST_CASE("virtio-blk: what the storage cannot do becomes IOERR, and the status is all that counts (B19, Q32)",
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

TEST_CASE("virtio-blk: a header that changes after it was read changes nothing (Q22)", "[virtio][block]") {
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

// ---- discard and write-zeroes

TEST_CASE("virtio-blk: a discard hands every segment on", "[virtio][block]") {
  Fixture f;
  CHECK(f.unmap(VIRTIO_BLK_T_DISCARD, {{0, 8, 0}, {100, 1, 0}, {kSectors, 0, 0}}) == VIRTIO_BLK_S_OK);
  REQUIRE(f.backend.calls.size() == 3);
  CHECK(f.backend.calls[0].length == 8 * 512);
  CHECK(f.backend.calls[1].kind == Kind::kDiscard);
  CHECK(f.backend.calls[1].offset == 100 * 512);
}

TEST_CASE("virtio-blk: one discard may cover 1 TiB (B13)", "[virtio][block]") {
  Fixture f;
  f.backend.reported_size = uint64_t{1} << 40;
  f.block.refresh_size();
  CHECK(f.unmap(VIRTIO_BLK_T_DISCARD, {{0, uint32_t{1} << 31, 0}}) == VIRTIO_BLK_S_OK);
  REQUIRE(f.backend.calls.size() == 1);
  CHECK(f.backend.calls[0].length == uint64_t{1} << 40);
}

TEST_CASE("virtio-blk: one segment outside fails the request before anything is done", "[virtio][block]") {
  Fixture f;
  const uint32_t type = GENERATE(uint32_t{VIRTIO_BLK_T_DISCARD}, uint32_t{VIRTIO_BLK_T_WRITE_ZEROES});
  const uint64_t sector = GENERATE(uint64_t{kSectors}, kSectors - 7, ~uint64_t{0}, uint64_t{1} << 55);
  CHECK(f.unmap(type, {{0, 8, 0}, {sector, 8, 0}}) == VIRTIO_BLK_S_IOERR);
  CHECK(f.backend.calls.empty());
}

TEST_CASE("virtio-blk: unknown flags of a segment are unsupported (D12)", "[virtio][block]") {
  Fixture f;
  CHECK(f.unmap(VIRTIO_BLK_T_DISCARD, {{0, 8, 2}}) == VIRTIO_BLK_S_UNSUPP);
  CHECK(f.unmap(VIRTIO_BLK_T_WRITE_ZEROES, {{0, 8, 0x80000000}}) == VIRTIO_BLK_S_UNSUPP);
  CHECK(f.backend.calls.empty());
}

TEST_CASE("virtio-blk: a discard with the unmap flag is unsupported (D12)", "[virtio][block]") {
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

TEST_CASE("virtio-blk: writes are stable for a driver that knows no flush (D2, first case)", "[virtio][block]") {
  Fixture f({}, 0);
  CHECK(f.write(0) == VIRTIO_BLK_S_OK);
  CHECK(f.backend.calls[0].durability == Durability::kStable);
}

TEST_CASE("virtio-blk: writes are cached for a driver that flushes (D2, third case)", "[virtio][block]") {
  Fixture f({}, kFlush);
  f.set_writeback(false);  // not negotiated, so without effect
  CHECK(f.write(0) == VIRTIO_BLK_S_OK);
  CHECK(f.backend.calls[0].durability == Durability::kCached);
}

TEST_CASE("virtio-blk: writes are stable while the driver chooses write-through (D2, second case)", "[virtio][block]") {
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

TEST_CASE("virtio-blk: flush is offered always, changes only where they are possible (D1)", "[virtio][block]") {
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

TEST_CASE("virtio-blk: storage that shrank keeps its capacity (B29)", "[virtio][block]") {
  Fixture f;
  f.backend.storage_size = 512;
  f.block.refresh_size();
  CHECK(f.config_changes == 0);
  CHECK(f.config().capacity == kSectors);
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

TEST_CASE("virtio-blk: a stop waits for requests under way, and takes no new ones (P13)", "[virtio][block]") {
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
  DriverQueue second(f.host, {.base = 0x200000});
  f.host.loop().spawn(f.block.serve(1, second.device_side()));
  second.chain().readable_value(header(VIRTIO_BLK_T_IN)).writable(512).writable(1).publish();
  f.publish_read(0);
  CHECK(f.next_answer().length == 513);
  const auto used = second.next_used();
  REQUIRE(used);
  CHECK(used->length == 513);
}
