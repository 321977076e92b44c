// What `--disk` says, and the storage that comes of it.
#include "devices/backends/disk/disk.h"

#include <catch2/catch.hpp>

#include "tests/support/run_task.h"
#include "tests/support/temp_file.h"
#include "vmm/core/error.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Matchers::Contains;

namespace {

DiskConfig parse(const std::string& text) { return DiskConfig::parse(text); }

struct Fixture {
  std::unique_ptr<BlockBackend> open(const std::string& options) {
    return open_disk(parse(file.path() + options), *engine);
  }
  int write(BlockBackend& disk, uint64_t offset, std::string text) {
    iovec buffer{text.data(), text.size()};
    return run_task(loop, disk.write(offset, {&buffer, 1}, Durability::kCached));
  }

  EventLoop loop;
  std::unique_ptr<IoEngine> engine = IoEngine::create(loop, IoEngine::Kind::kAuto);
  TempFile file{1 << 20};
};

}  // namespace

TEST_CASE("disk: a path alone has the defaults", "[backends][disk]") {
  const DiskConfig config = parse("rootfs.img");
  CHECK(config.path == "rootfs.img");
  CHECK_FALSE(config.read_only);
  CHECK_FALSE(config.ephemeral);
  CHECK_FALSE(config.direct);
  CHECK(config.sparse);
  CHECK(config.serial.empty());
  CHECK(config.queues == 0);
  CHECK(config.block_size == 0);
}

TEST_CASE("disk: every option is understood", "[backends][disk]") {
  const DiskConfig config =
      parse("a.img,ro,direct,serial=S-1,sparse=off,queues=4,block-size=4096,format=raw,if=virtio");
  CHECK(config.read_only);
  CHECK(config.direct);
  CHECK(config.serial == "S-1");
  CHECK_FALSE(config.sparse);
  CHECK(config.queues == 4);
  CHECK(config.block_size == 4096);
  CHECK(parse("a.img,ephemeral").ephemeral);
}

TEST_CASE("disk: a doubled comma is one of the name", "[backends][disk]") {
  const DiskConfig config = parse("a,,b.img,ro");
  CHECK(config.path == "a,b.img");
  CHECK(config.read_only);
}

TEST_CASE("disk: what is not understood is refused", "[backends][disk]") {
  const std::string text = GENERATE("", ",ro", "a.img,", "a.img,rw", "a.img,serial", "a.img,sparse=maybe",
                                    "a.img,queues=0", "a.img,queues=257", "a.img,queues=4x", "a.img,queues=-1",
                                    "a.img,queues=99999999999", "a.img,block-size=1024", "a.img,format=qcow2",
                                    "a.img,if=nvme", "a.img,ro,ephemeral", "a.img,serial=123456789012345678901");
  CHECK_THROWS_AS(parse(text), Error);
}

TEST_CASE("disk: a disk is written in its file", "[backends][disk]") {
  Fixture f;
  const auto disk = f.open("");
  CHECK(disk->size() == 1 << 20);
  CHECK_FALSE(disk->read_only());
  CHECK(f.write(*disk, 512, "kept") == 0);
  CHECK(f.file.read(512, 4) == "kept");
}

TEST_CASE("disk: an ephemeral disk leaves its file alone", "[backends][disk]") {
  Fixture f;
  f.file.write(0, "base");
  const auto disk = f.open(",ephemeral");
  CHECK_FALSE(disk->read_only());
  CHECK(f.write(*disk, 0, "lost") == 0);
  CHECK(f.file.read(0, 4) == "base");
}

TEST_CASE("disk: a read-only disk says so", "[backends][disk]") {
  Fixture f;
  CHECK(f.open(",ro")->read_only());
}

TEST_CASE("disk: two ephemeral disks share a base, a writer beside them is refused", "[backends][disk]") {
  Fixture f;
  const auto first = f.open(",ephemeral");
  CHECK_NOTHROW(f.open(",ephemeral"));
  CHECK_NOTHROW(f.open(",ro"));
  CHECK_THROWS_WITH(f.open(""), Contains("given twice"));
}

TEST_CASE("disk: a closed disk can be opened again, many times", "[backends][disk]") {
  Fixture f;
  for (int i = 0; i < 600; ++i) CHECK(f.open(",ephemeral")->size() == 1 << 20);
}

TEST_CASE("disk: one of another process is named by its socket, and is as its back-end has it", "[backends][disk]") {
  const DiskConfig config = DiskConfig::parse("vhost-user=/run/a,,b,queues=2");
  CHECK(config.socket == "/run/a,b");
  CHECK(config.path.empty());
  CHECK(config.queues == 2);
  CHECK_THROWS_WITH(DiskConfig::parse("vhost-user="), Contains("no socket"));
  const std::string option = GENERATE(as<std::string>(), "ro", "ephemeral", "direct", "serial=x", "sparse=off",
                                      "block-size=512", "format=raw", "if=virtio");
  CHECK_THROWS_WITH(DiskConfig::parse("vhost-user=s," + option), Contains("'" + option + "'"));
}
