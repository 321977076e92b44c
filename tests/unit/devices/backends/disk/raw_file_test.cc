// The raw disk: against real files through both engines, and against an engine that fails on purpose. The rules:
// devices/README.md.
#include "devices/backends/disk/raw_file.h"

#include <fcntl.h>

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "tests/support/descriptors.h"
#include "tests/support/fake_io_engine.h"
#include "tests/support/run_task.h"
#include "tests/support/temp_file.h"

using namespace vmm;
using namespace vmm::test;

namespace {

using Mode = ImageFile::Mode;
using Cache = ImageFile::Cache;
using Sparse = RawFile::Sparse;
using Verb = IoRequest::Verb;

constexpr uint64_t kSize = 1 << 20;

// Memory whose alignment a test chooses.
struct Memory {
  explicit Memory(size_t size, size_t skew = 0) : list{iovec{storage.data() + skew, size}} {}
  alignas(4096) std::array<char, 512 << 10> storage{};
  std::array<iovec, 1> list;

  Memory& fill(char with) {
    std::memset(list[0].iov_base, with, list[0].iov_len);
    return *this;
  }
};

int read_into(EventLoop& loop, BlockBackend& disk, uint64_t offset, std::string& text) {
  iovec buffer{text.data(), text.size()};
  return run_task(loop, disk.read(offset, {&buffer, 1}));
}

int write_text(EventLoop& loop, BlockBackend& disk, uint64_t offset, std::string text,
               Durability durability = Durability::kCached) {
  iovec buffer{text.data(), text.size()};
  return run_task(loop, disk.write(offset, {&buffer, 1}, durability));
}

struct Fixture {
  explicit Fixture(IoEngine::Kind kind, Cache cache = Cache::kHost, Sparse sparse = Sparse::kGiveBack,
                   Mode mode = Mode::kReadWrite)
      : engine(IoEngine::create(loop, kind)),
        disk(*engine, ImageFile::open(file.path(), mode, cache), std::nullopt, sparse) {}

  std::string read(uint64_t offset, size_t length) {
    std::string text(length, '?');
    CHECK(read_into(loop, disk, offset, text) == 0);
    return text;
  }
  int write(uint64_t offset, const std::string& text) { return write_text(loop, disk, offset, text); }

  EventLoop loop;
  TempFile file{kSize};
  std::unique_ptr<IoEngine> engine;
  RawFile disk;
};

// As on a host whose O_DIRECT wants blocks of 4096, whatever this one wants.
struct Direct4kFixture {
  explicit Direct4kFixture(IoEngine::Kind kind)
      : engine(IoEngine::create(loop, kind)), disk(*engine, image(), std::nullopt, Sparse::kGiveBack) {}
  ImageFile image() const {
    ImageFile image = ImageFile::open(file.path(), Mode::kReadWrite, Cache::kDirect);
    image.offset_alignment = 4096;
    image.memory_alignment = 4096;
    return image;
  }

  EventLoop loop;
  TempFile file{kSize};
  std::unique_ptr<IoEngine> engine;
  RawFile disk;
};

IoEngine::Kind either_engine() { return GENERATE(IoEngine::Kind::kIoUring, IoEngine::Kind::kThreads); }

// A disk in memory, as on a host whose O_DIRECT wants blocks of 4096 at any address that is a multiple of 512.
struct DirectMemoryFixture {
  DirectMemoryFixture() : disk(engine, image(), std::nullopt, Sparse::kGiveBack) {
    engine.answer = [this](const IoRequest& request) -> ssize_t {
      uint64_t at = request.offset;
      for (const iovec& part : request.buffers) {
        aligned = aligned && part.iov_len % 4096 == 0;
        if (request.verb == Verb::kRead) std::memcpy(part.iov_base, &content[at], part.iov_len);
        if (request.verb == Verb::kWrite) std::memcpy(&content[at], part.iov_base, part.iov_len);
        at += part.iov_len;
      }
      if (request.verb == Verb::kAllocate) content.replace(at, request.length, request.length, '0');
      return static_cast<ssize_t>(at - request.offset);
    };
  }
  ImageFile image() const {
    ImageFile image = ImageFile::open(file.path(), Mode::kReadWrite, Cache::kHost);
    image.offset_alignment = 4096;
    image.memory_alignment = 512;
    return image;
  }
  std::string first_block() const {
    std::string sectors;
    for (size_t i = 0; i < 8; ++i) sectors += content[512 * i];
    return sectors;
  }

  EventLoop loop;
  TempFile file{kSize};
  FakeIoEngine engine{loop};
  std::string content = std::string(kSize, '.');
  bool aligned = true;  // the length of every buffer
  RawFile disk;
};

// A disk on an engine that answers as the test says.
struct FakeFixture {
  explicit FakeFixture(Sparse sparse = Sparse::kGiveBack)
      : disk(engine, ImageFile::open(file.path(), Mode::kReadWrite, Cache::kHost), std::nullopt, sparse) {}

  int write(const std::string& text, Durability durability = Durability::kCached) {
    return write_text(loop, disk, 0, text, durability);
  }
  size_t count(Verb verb) const {
    return static_cast<size_t>(std::ranges::count(engine.requests, verb, &IoRequest::verb));
  }

  EventLoop loop;
  TempFile file{kSize};
  FakeIoEngine engine{loop};
  RawFile disk;
};

}  // namespace

// ---- the ordinary

TEST_CASE("raw file: what is written is read back and is in the file", "[backends][raw-file]") {
  Fixture f(either_engine());
  CHECK(f.write(512, "hello") == 0);
  CHECK(f.read(512, 5) == "hello");
  CHECK(f.file.read(512, 5) == "hello");
}

TEST_CASE("raw file: a transfer longer than one step is whole", "[backends][raw-file]") {
  Fixture f(either_engine());
  f.file.resize(16 << 20);
  f.disk.refresh_size();
  CHECK(f.write(0, std::string(9 << 20, 'x')) == 0);
  CHECK(f.read(8 << 20, 2 << 20) == std::string(1 << 20, 'x') + std::string(1 << 20, '\0'));
}

TEST_CASE("raw file: a stable write and a flush succeed", "[backends][raw-file]") {
  Fixture f(either_engine());
  CHECK(write_text(f.loop, f.disk, 0, "stable", Durability::kStable) == 0);
  CHECK(run_task(f.loop, f.disk.flush()) == 0);
  CHECK(f.file.read(0, 6) == "stable");
}

TEST_CASE("raw file: a read-only disk flushes", "[backends][raw-file]") {
  Fixture f(either_engine(), Cache::kHost, Sparse::kGiveBack, Mode::kReadOnly);
  CHECK(f.disk.read_only());
  CHECK(run_task(f.loop, f.disk.flush()) == 0);
}

TEST_CASE("raw file: a list of more buffers than a system call takes is transferred", "[backends][raw-file]") {
  Fixture f(either_engine(), GENERATE(Cache::kHost, Cache::kDirect));
  std::string text(512 * 2000, 'm');
  std::vector<iovec> list;
  for (size_t i = 0; i < 2000; ++i) list.push_back({text.data() + 512 * i, 512});
  CHECK(run_task(f.loop, f.disk.write(0, list, Durability::kCached)) == 0);
  CHECK(f.file.read(0, text.size()) == text);
}

// ---- truncation and removal while in use

TEST_CASE("raw file: reads past the end of a truncated file fail, those before succeed", "[backends][raw-file]") {
  Fixture f(either_engine());
  f.file.write(0, "kept");
  f.file.resize(kSize / 2);
  std::string text(4096, '?');
  CHECK(read_into(f.loop, f.disk, kSize / 2, text) == EIO);
  CHECK(read_into(f.loop, f.disk, kSize / 2 - 512, text) == EIO);
  CHECK(f.read(0, 4) == "kept");
}

TEST_CASE("raw file: a write past the end of a truncated file fails and does not let it grow", "[backends][raw-file]") {
  Fixture f(either_engine());
  f.file.resize(GENERATE(0u, kSize / 2));
  const uint64_t size = f.file.size();
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(f.write(kSize - 512, std::string(512, 'x')) == EIO);
  CHECK(f.write(size, std::string(512, 'x')) == EIO);
  CHECK(f.file.size() == size);
}

TEST_CASE("raw file: write-zeroes past the end of a truncated file fails", "[backends][raw-file]") {
  Fixture f(either_engine());
  f.file.resize(0);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(run_task(f.loop, f.disk.write_zeroes(0, 4096, Unmap::kForbidden)) == EIO);
  CHECK(f.file.size() == 0);
}

TEST_CASE("raw file: a truncated file that is whole again works again, and flushes did not break",
          "[backends][raw-file]") {
  Fixture f(either_engine());
  f.file.resize(0);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(write_text(f.loop, f.disk, 0, "lost", GENERATE(Durability::kCached, Durability::kStable)) == EIO);
  f.file.resize(kSize);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(f.write(0, "back") == 0);
  CHECK(run_task(f.loop, f.disk.flush()) == 0);
}

TEST_CASE("raw file: an unlinked file goes on, and says so", "[backends][raw-file]") {
  Fixture f(either_engine());
  f.file.unlink();
  CHECK(f.write(0, "still here") == 0);
  CHECK(f.read(0, 10) == "still here");
  CHECK(f.disk.describe().find("deleted") != std::string::npos);
}

TEST_CASE("raw file: a file that grew is larger after a look, one that shrank is not smaller", "[backends][raw-file]") {
  Fixture f(either_engine());
  f.file.resize(2 * kSize + 100);
  CHECK(f.disk.refresh_size() == 2 * kSize + 100);
  CHECK(f.disk.size() == 2 * kSize);
  f.file.resize(kSize);
  CHECK(f.disk.refresh_size() == kSize);
  CHECK(f.disk.size() == 2 * kSize);
}

// ---- short transfers and errors

TEST_CASE("raw file: short transfers are continued where they stopped", "[backends][raw-file]") {
  FakeFixture f;
  f.engine.answer = [](const IoRequest& request) {
    return static_cast<ssize_t>(std::min<size_t>(300, total_size(request.buffers)));
  };
  CHECK(f.write(std::string(1000, 'x')) == 0);
  REQUIRE(f.engine.requests.size() == 4);
  CHECK(f.engine.requests[1].offset == 300);
  CHECK(f.engine.requests[3].offset == 900);
}

TEST_CASE("raw file: interrupted and refused requests are repeated", "[backends][raw-file]") {
  FakeFixture f;
  const ssize_t error = GENERATE(-EINTR, -EAGAIN);
  f.engine.answer = [&f, error](const IoRequest& request) {
    return f.engine.requests.size() == 1 ? error : static_cast<ssize_t>(total_size(request.buffers));
  };
  CHECK(f.write("again") == 0);
  CHECK(f.engine.requests.size() == 2);
}

TEST_CASE("raw file: a request that is refused for ever fails", "[backends][raw-file]") {
  FakeFixture f;
  f.engine.answer = [&f](const IoRequest&) -> ssize_t { return f.engine.requests.size() < 1000 ? -EAGAIN : -EIO; };
  CHECK(f.write("never") == EAGAIN);
}

TEST_CASE("raw file: the error after a short transfer is the request's", "[backends][raw-file]") {
  FakeFixture f;
  const int error = GENERATE(ENOSPC, EFBIG, EIO);
  f.engine.answer = [&f, error](const IoRequest&) { return f.engine.requests.size() == 1 ? ssize_t{512} : -error; };
  CHECK(f.write(std::string(1024, 'x')) == error);
}

TEST_CASE("raw file: a full disk does not outlast its cause", "[backends][raw-file]") {
  FakeFixture f;
  const auto works = f.engine.answer;
  f.engine.answer = [](const IoRequest&) -> ssize_t { return -ENOSPC; };
  CHECK(f.write("full") == ENOSPC);
  f.engine.answer = works;
  CHECK(f.write("room") == 0);
  CHECK(run_task(f.loop, f.disk.flush()) == 0);
}

TEST_CASE("raw file: a flush that failed fails for good, without asking again", "[backends][raw-file]") {
  FakeFixture f;
  const auto works = f.engine.answer;
  f.engine.answer = [](const IoRequest&) -> ssize_t { return -EIO; };
  CHECK(run_task(f.loop, f.disk.flush()) == EIO);
  f.engine.answer = works;
  CHECK(run_task(f.loop, f.disk.flush()) == EIO);
  CHECK(f.count(Verb::kSync) == 1);
  CHECK(f.write("stable", Durability::kStable) == EIO);
}

TEST_CASE("raw file: a stable write whose sync failed, however, fails all later flushes", "[backends][raw-file]") {
  FakeFixture f;
  const int error = GENERATE(EIO, ENOSPC, EDQUOT, ENOLINK);
  const auto works = f.engine.answer;
  f.engine.answer = [&](const IoRequest& request) { return request.verb == Verb::kSync ? -error : works(request); };
  const Pipe log;
  set_log_fd(log.write.get());
  CHECK(f.write("stable", Durability::kStable) == error);
  set_log_fd(STDERR_FILENO);
  CHECK(read_available(log.read).find("every later flush of this disk fails") != std::string::npos);
  f.engine.answer = works;
  CHECK(run_task(f.loop, f.disk.flush()) == error);
}

TEST_CASE("raw file: a stable write that failed before its sync is the only one", "[backends][raw-file]") {
  FakeFixture f;
  const int error = GENERATE(EIO, ENOSPC);
  const auto works = f.engine.answer;
  f.engine.answer = [error](const IoRequest&) -> ssize_t { return -error; };
  CHECK(f.write("stable", Durability::kStable) == error);
  f.engine.answer = works;
  CHECK(f.write("stable", Durability::kStable) == 0);
}

TEST_CASE("raw file: a stable write has its sync behind it", "[backends][raw-file]") {
  FakeFixture f;
  CHECK(f.write("cached", Durability::kCached) == 0);
  CHECK(f.write("stable", Durability::kStable) == 0);
  REQUIRE(f.engine.requests.size() == 3);
  CHECK(f.engine.requests[1].verb == Verb::kWrite);
  CHECK(f.engine.requests[2].verb == Verb::kSync);
}

TEST_CASE("raw file: flushes asked together share two syncs at most", "[backends][raw-file]") {
  FakeFixture f;
  std::array<std::optional<int>, 8> results;
  for (auto& result : results) f.loop.spawn(keep_result(f.disk.flush(), result));
  f.loop.run_ready();
  CHECK(std::ranges::count(results, std::optional<int>(0)) == 8);
  CHECK(f.count(Verb::kSync) == 2);
}

TEST_CASE("raw file: a flush asked during a sync is not answered by it", "[backends][raw-file]") {
  FakeFixture f;
  std::optional<int> second;
  f.engine.answer = [&](const IoRequest&) -> ssize_t {
    if (f.engine.requests.size() == 1) f.loop.spawn(keep_result(f.disk.flush(), second));
    return 0;
  };
  CHECK(run_task(f.loop, f.disk.flush()) == 0);
  f.loop.run_ready();
  CHECK(second == 0);
  CHECK(f.count(Verb::kSync) == 2);
}

// ---- discard and write-zeroes

TEST_CASE("raw file: a discard gives space back", "[backends][raw-file]") {
  Fixture f(either_engine());
  CHECK(f.write(0, std::string(kSize, 'x')) == 0);
  CHECK(run_task(f.loop, f.disk.flush()) == 0);
  const uint64_t before = f.file.allocated();
  CHECK(run_task(f.loop, f.disk.discard(0, kSize / 2)) == 0);
  CHECK(f.file.allocated() <= before / 2);
  CHECK(f.read(kSize / 2, 1) == "x");
  CHECK(f.file.size() == kSize);
}

TEST_CASE("raw file: with sparse=off space stays, and zeroes are still read", "[backends][raw-file]") {
  Fixture f(either_engine(), Cache::kHost, Sparse::kKeep);
  CHECK(f.write(0, std::string(kSize, 'x')) == 0);
  CHECK(run_task(f.loop, f.disk.flush()) == 0);
  const uint64_t before = f.file.allocated();
  CHECK(run_task(f.loop, f.disk.discard(0, kSize / 2)) == 0);
  CHECK(run_task(f.loop, f.disk.write_zeroes(0, kSize / 2, Unmap::kAllowed)) == 0);
  CHECK(f.file.allocated() >= before);
  CHECK(f.read(0, 4096) == std::string(4096, '\0'));
}

TEST_CASE("raw file: write-zeroes reads back as zeroes and leaves the neighbours", "[backends][raw-file]") {
  // tmpfs has no FALLOC_FL_ZERO_RANGE.
  const std::string where = GENERATE("/tmp", "/dev/shm");
  const Unmap unmap = GENERATE(Unmap::kForbidden, Unmap::kAllowed);
  EventLoop loop;
  const auto engine = IoEngine::create(loop, IoEngine::Kind::kAuto);
  TempFile file(kSize, where);
  RawFile disk(*engine, ImageFile::open(file.path(), Mode::kReadWrite, Cache::kHost), std::nullopt, Sparse::kGiveBack);
  CHECK(write_text(loop, disk, 0, std::string(kSize, 'x')) == 0);
  CHECK(run_task(loop, disk.write_zeroes(512, 200 * 1024, unmap)) == 0);
  std::string text(201 * 1024, '?');
  CHECK(read_into(loop, disk, 0, text) == 0);
  CHECK(text == std::string(512, 'x') + std::string(200 * 1024, '\0') + std::string(512, 'x'));
}

TEST_CASE("raw file: write-zeroes writes them where the host has no other way", "[backends][raw-file]") {
  FakeFixture f;
  const ssize_t error = GENERATE(-EOPNOTSUPP, -ENOSYS, -EINVAL);
  f.engine.answer = [error](const IoRequest& request) {
    return request.verb == Verb::kAllocate ? error : static_cast<ssize_t>(total_size(request.buffers));
  };
  CHECK(run_task(f.loop, f.disk.write_zeroes(0, kSize, Unmap::kAllowed)) == 0);
  CHECK(f.count(Verb::kAllocate) == 2);
  CHECK(f.count(Verb::kWrite) > 0);
}

TEST_CASE("raw file: a discard that the host cannot do is a success, one that fails is not", "[backends][raw-file]") {
  FakeFixture f;
  f.engine.answer = [](const IoRequest&) -> ssize_t { return -EOPNOTSUPP; };
  CHECK(run_task(f.loop, f.disk.discard(0, kSize)) == 0);
  f.engine.answer = [](const IoRequest&) -> ssize_t { return -EIO; };
  CHECK(run_task(f.loop, f.disk.discard(0, kSize)) == EIO);
}

TEST_CASE("raw file: a discard of 1 TiB is done in pieces", "[backends][raw-file]") {
  EventLoop loop;
  FakeIoEngine engine(loop);
  TempFile file(uint64_t{1} << 40);
  RawFile disk(engine, ImageFile::open(file.path(), Mode::kReadWrite, Cache::kHost), std::nullopt, Sparse::kGiveBack);
  CHECK(run_task(loop, disk.discard(0, uint64_t{1} << 40)) == 0);
  CHECK(engine.requests.size() == 1024);
}

// ---- O_DIRECT. The files are written in full first, because reads of holes are not checked.

TEST_CASE("raw file: direct transfers may have any alignment", "[backends][raw-file]") {
  Fixture f(either_engine(), Cache::kDirect);
  f.file.write(0, std::string(kSize, '.'));
  const uint64_t offset = GENERATE(0u, 512u, 4096u, 7168u);
  const size_t length = GENERATE(512u, 4096u, 300u * 1024u);
  const size_t skew = GENERATE(0u, 1u, 512u);
  const auto memory = std::make_unique<Memory>(length, skew);
  CHECK(run_task(f.loop, f.disk.write(offset, memory->fill('d').list, Durability::kCached)) == 0);
  const std::string around = std::string(offset, '.') + std::string(length, 'd') + ".";
  CHECK(f.file.read(0, around.size()) == around);

  const auto back = std::make_unique<Memory>(length, skew);
  CHECK(run_task(f.loop, f.disk.read(offset, back->fill('?').list)) == 0);
  CHECK(back->storage[skew] == 'd');
  CHECK(back->storage[skew + length - 1] == 'd');
  CHECK(back->storage[skew + length] == '\0');
}

TEST_CASE("raw file: direct writes of neighbouring sectors at once lose nothing", "[backends][raw-file]") {
  Direct4kFixture f(either_engine());
  f.file.write(0, std::string(kSize, '.'));
  std::array<std::optional<int>, 8> results;
  std::array<std::string, 8> texts;
  std::array<iovec, 8> buffers;
  std::string expected;
  for (size_t i = 0; i < results.size(); ++i) {
    texts[i] = std::string(512, static_cast<char>('a' + i));
    expected += texts[i];
    buffers[i] = {texts[i].data(), 512};
    f.loop.spawn(keep_result(f.disk.write(512 * i, {&buffers[i], 1}, Durability::kCached), results[i]));
  }
  f.engine->drain();
  CHECK(f.file.read(0, 4096) == expected);
  CHECK(std::ranges::count(results, std::optional<int>(0)) == 8);
}

TEST_CASE("raw file: zeroing next to a direct write of part of a block loses nothing", "[backends][raw-file]") {
  Direct4kFixture f(either_engine());
  f.file.write(0, std::string(kSize, '.'));
  std::string text(512, 'n');
  iovec buffer{text.data(), text.size()};
  std::optional<int> written;
  std::optional<int> zeroed;
  f.loop.spawn(keep_result(f.disk.write(0, {&buffer, 1}, Durability::kCached), written));
  f.loop.spawn(keep_result(f.disk.write_zeroes(512, 3584, Unmap::kForbidden), zeroed));
  f.engine->drain();
  CHECK(written == 0);
  CHECK(zeroed == 0);
  CHECK(f.file.read(0, 4097) == std::string(512, 'n') + std::string(3584, '\0') + ".");
}

TEST_CASE("raw file: a direct write of a block next to one of its sectors loses nothing", "[backends][raw-file]") {
  DirectMemoryFixture f;
  const auto sector = std::make_unique<Memory>(512);
  const auto block = std::make_unique<Memory>(4096);
  std::optional<int> written, overwritten;
  const bool sector_first = GENERATE(true, false);
  const auto write_sector = [&] {
    f.loop.spawn(keep_result(f.disk.write(512, sector->fill('s').list, Durability::kCached), written));
  };
  if (sector_first) write_sector();
  f.loop.spawn(keep_result(f.disk.write(0, block->fill('b').list, Durability::kCached), overwritten));
  if (!sector_first) write_sector();
  f.loop.run_ready();
  CHECK(written == 0);
  CHECK(overwritten == 0);
  CHECK(f.first_block() == (sector_first ? "bbbbbbbb" : "bsbbbbbb"));
}

TEST_CASE("raw file: zeroing a block next to a direct write of one of its sectors loses nothing",
          "[backends][raw-file]") {
  DirectMemoryFixture f;
  const auto sector = std::make_unique<Memory>(512);
  std::optional<int> written, zeroed;
  f.loop.spawn(keep_result(f.disk.write(512, sector->fill('s').list, Durability::kCached), written));
  f.loop.spawn(keep_result(f.disk.write_zeroes(0, 4096, Unmap::kForbidden), zeroed));
  f.loop.run_ready();
  CHECK(written == 0);
  CHECK(zeroed == 0);
  CHECK(f.first_block() == "00000000");
}

TEST_CASE("raw file: the length of every buffer of a direct transfer is aligned", "[backends][raw-file]") {
  DirectMemoryFixture f;
  const auto memory = std::make_unique<Memory>(4096);
  std::array<iovec, 2> list{iovec{memory->storage.data(), 512}, iovec{memory->storage.data() + 512, 3584}};
  memory->fill('d');
  CHECK(run_task(f.loop, f.disk.write(4096, list, Durability::kCached)) == 0);
  CHECK(f.content.substr(4096, 4097) == std::string(4096, 'd') + ".");
  CHECK(f.aligned);
}
