// Throw-away copies.
#include "devices/backends/disk/overlay.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>
#include <optional>

#include "tests/support/memory_backend.h"
#include "tests/support/run_task.h"

using namespace vmm;
using namespace vmm::test;

namespace {

using Kind = MemoryBackend::Kind;

constexpr uint64_t kBlock = Overlay::kBlock;

// Two disks in memory: the base reads "bbb...", and the scratch disk is full of what nobody must see.
struct Fixture {
  explicit Fixture(uint64_t size = 16 * kBlock)
      : Fixture(size, std::make_unique<MemoryBackend>(size), std::make_unique<MemoryBackend>(size)) {}
  Fixture(uint64_t size, std::unique_ptr<MemoryBackend> below, std::unique_ptr<MemoryBackend> above)
      : base(*below), scratch(*above), disk(std::move(below), std::move(above)), expected(size, 'b') {
    std::ranges::fill(base.content, std::byte{'b'});
    std::ranges::fill(scratch.content, std::byte{'!'});
  }

  std::string read(uint64_t offset, size_t length) {
    std::string text(length, '?');
    iovec buffer{text.data(), length};
    CHECK(run_task(loop, disk.read(offset, {&buffer, 1})) == 0);
    return text;
  }
  int write(uint64_t offset, std::string text) {
    expected.replace(offset, text.size(), text);
    iovec buffer{text.data(), text.size()};
    return run_task(loop, disk.write(offset, {&buffer, 1}, Durability::kCached));
  }
  std::string all() { return read(0, expected.size()); }
  bool base_untouched() const {
    return std::ranges::all_of(base.content, [](std::byte value) { return value == std::byte{'b'}; });
  }

  EventLoop loop;
  MemoryBackend& base;
  MemoryBackend& scratch;
  Overlay disk;
  std::string expected;
};

}  // namespace

TEST_CASE("overlay: what was not written comes from the base", "[backends][overlay]") {
  Fixture f;
  CHECK(f.all() == f.expected);
}

TEST_CASE("overlay: writes of any place and length are read back, and the base stays", "[backends][overlay]") {
  Fixture f;
  const uint64_t offset = GENERATE(0u, 512u, 4096u, 4608u, 8191u);
  const size_t length = GENERATE(1u, 512u, 4096u, 5000u, 12288u);
  CHECK(f.write(offset, std::string(length, 'n')) == 0);
  CHECK(f.all() == f.expected);
  CHECK(f.base_untouched());
}

TEST_CASE("overlay: a whole block is not read from the base before it is written", "[backends][overlay]") {
  Fixture f;
  CHECK(f.write(kBlock, std::string(2 * kBlock, 'n')) == 0);
  CHECK(f.base.calls.empty());
}

TEST_CASE("overlay: a second write of a block does not bring the base back", "[backends][overlay]") {
  Fixture f;
  CHECK(f.write(0, std::string(512, '1')) == 0);
  CHECK(f.write(1024, std::string(512, '2')) == 0);
  CHECK(f.all() == f.expected);
  CHECK(f.base.calls.size() == 1 + 1);  // one copy, and the end of the last read
}

TEST_CASE("overlay: first writes of one block at once lose nothing", "[backends][overlay]") {
  Fixture f;
  f.base.holding = true;
  std::array<std::optional<int>, 8> results;
  std::array<std::string, 8> texts;
  std::array<iovec, 8> buffers;
  for (size_t i = 0; i < results.size(); ++i) {
    texts[i] = std::string(512, static_cast<char>('0' + i));
    f.expected.replace(512 * i, 512, texts[i]);
    buffers[i] = {texts[i].data(), 512};
    f.loop.spawn(keep_result(f.disk.write(512 * i, {&buffers[i], 1}, Durability::kCached), results[i]));
  }
  f.base.release_all();
  CHECK(std::ranges::count(results, std::optional<int>(0)) == 8);
  CHECK(f.all() == f.expected);
}

TEST_CASE("overlay: a disk that ends within a block can be written to its end", "[backends][overlay]") {
  Fixture f(2 * kBlock + 512);
  CHECK(f.write(2 * kBlock, std::string(512, 'e')) == 0);
  CHECK(f.all() == f.expected);
}

TEST_CASE("overlay: zeroes are read where zeroes were written, and only there", "[backends][overlay]") {
  Fixture f;
  const uint64_t offset = GENERATE(0u, 512u, 4096u);
  const size_t length = GENERATE(512u, 4096u, 9000u);
  CHECK(run_task(f.loop, f.disk.write_zeroes(offset, length, Unmap::kForbidden)) == 0);
  f.expected.replace(offset, length, std::string(length, '\0'));
  CHECK(f.all() == f.expected);
  CHECK(f.base_untouched());
}

TEST_CASE("overlay: a discard reaches the copy only", "[backends][overlay]") {
  Fixture f;
  CHECK(run_task(f.loop, f.disk.discard(0, 4 * kBlock)) == 0);
  CHECK(f.base.calls.empty());
  CHECK(f.all() == f.expected);
}

TEST_CASE("overlay: a discard within a block leaves its neighbours", "[backends][overlay]") {
  Fixture f;
  CHECK(f.write(0, std::string(kBlock, 'n')) == 0);
  CHECK(run_task(f.loop, f.disk.discard(512, 512)) == 0);
  CHECK(f.read(0, 512) == std::string(512, 'n'));
  CHECK(f.read(1024, 512) == std::string(512, 'n'));
}

TEST_CASE("overlay: a write that failed is not believed", "[backends][overlay]") {
  Fixture f;
  f.scratch.error = ENOSPC;
  const std::string before = f.expected;
  CHECK(f.write(0, std::string(512, 'n')) == ENOSPC);
  f.scratch.error = 0;
  CHECK(f.all() == before);
}

TEST_CASE("overlay: the base's errors are the reader's and the copier's", "[backends][overlay]") {
  Fixture f;
  f.base.error = EIO;
  std::string text(512, '?');
  iovec buffer{text.data(), text.size()};
  CHECK(run_task(f.loop, f.disk.read(0, {&buffer, 1})) == EIO);
  CHECK(f.write(0, std::string(512, 'n')) == EIO);
  CHECK(f.write(kBlock, std::string(kBlock, 'n')) == 0);
}

TEST_CASE("overlay: it grows with its base, and keeps what was written", "[backends][overlay]") {
  Fixture f;
  CHECK(f.write(15 * kBlock, std::string(kBlock, 'n')) == 0);
  f.base.storage_size = 4096 * kBlock;
  CHECK(f.disk.refresh_size() == 4096 * kBlock);
  REQUIRE(f.disk.size() == 4096 * kBlock);
  f.expected.resize(4096 * kBlock, '\0');
  CHECK(f.write(4095 * kBlock, std::string(512, 'e')) == 0);
  CHECK(f.all() == f.expected);
}

TEST_CASE("overlay: it keeps its size when its copy cannot grow", "[backends][overlay]") {
  const bool within_block = GENERATE(true, false);
  Fixture f(4 * kBlock + (within_block ? 512 : 0));
  f.scratch.error = within_block ? 0 : ENOSPC;
  const uint64_t before = f.disk.size();
  f.base.storage_size = 8 * kBlock;
  CHECK(f.disk.refresh_size() == 8 * kBlock);
  CHECK(f.disk.size() == before);
}

TEST_CASE("overlay: a flush costs nothing", "[backends][overlay]") {
  Fixture f;
  CHECK(run_task(f.loop, f.disk.flush()) == 0);
  CHECK(f.scratch.calls.empty());
  CHECK(f.base.calls.empty());
}

TEST_CASE("overlay: it can be written whatever the base is", "[backends][overlay]") {
  Fixture f;
  f.base.is_read_only = true;
  CHECK_FALSE(f.disk.read_only());
  CHECK(f.disk.topology().physical_block == kBlock);
}
