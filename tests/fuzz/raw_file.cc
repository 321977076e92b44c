// A disk with O_DIRECT's alignment, over an engine that completes in any order, in parts or not at all: requests that
// overlap, of any alignment. In the end each sector has what one of the requests left there that no later one has
// overwritten: one that began when the other had ended.
#include "devices/backends/disk/raw_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <vector>

#include "devices/backends/iovecs.h"
#include "tests/fuzz/fuzz_input.h"

namespace vmm::test {
namespace {

constexpr size_t kSector = 512;
constexpr size_t kSectors = 64;
constexpr uint32_t kBlock = 4096;

// The storage. Requests wait here until the fuzzer lets one go on.
class FuzzEngine : public IoEngine {
 public:
  const char* name() const override { return "fuzz"; }
  int add_file(int fd) override { return fd; }
  void remove_file(int) override {}
  void start(IoRequest& request) override { waiting.push_back(&request); }
  void drain() override { require(waiting.empty()); }

  // `whole`: as asked, without an error.
  void complete(FuzzInput& input, bool whole) {
    const size_t which = input.take_below(waiting.size());
    IoRequest& request = *waiting[which];
    waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(which));
    if (!whole && input.take_below(16) == 15) return request.complete(-EINTR);
    size_t length = total_size(request.buffers);
    if (!whole && length > kBlock && input.take_below(4) == 3) length = kBlock;
    request.complete(request.verb == IoRequest::Verb::kAllocate ? zero(request) : transfer(request, length));
  }

  std::vector<IoRequest*> waiting;
  std::vector<std::byte> content = std::vector<std::byte>(kSectors * kSector);

 private:
  std::span<std::byte> place(uint64_t offset, size_t length) {
    require(offset + length <= content.size());
    return std::span(content).subspan(offset, length);
  }
  // A file system does that for any range.
  ssize_t zero(const IoRequest& request) {
    std::ranges::fill(place(request.offset, request.length), std::byte{0});
    return 0;
  }
  ssize_t transfer(const IoRequest& request, size_t length) {
    if (request.verb == IoRequest::Verb::kSync) return 0;
    require(request.offset % kBlock == 0);
    for (const iovec& part : request.buffers) require(part.iov_len % kBlock == 0);
    if (request.verb == IoRequest::Verb::kRead) {
      scatter(place(request.offset, length), request.buffers);
    } else {
      gather(request.buffers, place(request.offset, length));
    }
    return static_cast<ssize_t>(length);
  }
};

// A request of the guest, and when it was made and answered.
struct Change {
  std::byte left;  // what it leaves in each byte
  size_t first, count;
  unsigned began = 0, ended = 0;  // 0: not yet
  std::vector<std::byte> data;
  iovec buffer{};
};

ImageFile make_image() {
  ImageFile image{.path = "fuzz", .fd = UniqueFd(::memfd_create("fuzz", MFD_CLOEXEC)), .topology = {}};
  image.size = kSectors * kSector;
  image.mode = ImageFile::Mode::kReadWrite;
  image.offset_alignment = kBlock;
  image.memory_alignment = kSector;
  (void)!::ftruncate(image.fd.get(), static_cast<off_t>(image.size));
  return image;
}

class Model {
 public:
  void begin(FuzzInput& input, RawFile& disk, EventLoop& loop) {
    Change& change = changes_.emplace_back();
    change.first = input.take_below(kSectors);
    change.count = 1 + input.take_below(kSectors - change.first);
    const bool zeroes = input.take_below(4) == 3;
    change.left = zeroes ? std::byte{0} : static_cast<std::byte>(changes_.size());
    change.began = ++now_;
    const size_t skew = input.take_bool() ? 0 : 1 + input.take_below(kSector);
    change.data.assign(change.count * kSector + skew + kSector, change.left);
    change.buffer = {change.data.data() + skew, change.count * kSector};
    const uint64_t offset = change.first * kSector;
    loop.spawn(finish(
        zeroes ? disk.write_zeroes(offset, change.buffer.iov_len, Unmap::kForbidden)
               : disk.write(offset, {&change.buffer, 1}, input.take_bool() ? Durability::kStable : Durability::kCached),
        change));
  }
  bool full() const { return changes_.size() >= 60; }
  // With nothing under way.
  void check(std::span<const std::byte> content) const {
    for (size_t sector = 0; sector < kSectors; ++sector) {
      const auto there = content.subspan(sector * kSector, kSector);
      for (const std::byte byte : there) require(byte == there[0]);
      require(may_be(sector, there[0]));
    }
  }

 private:
  Task<void> finish(Task<int> task, Change& change) {
    require(co_await task == 0);
    change.ended = ++now_;
  }
  bool may_be(size_t sector, std::byte value) const {
    bool any = false;
    for (const Change& change : changes_) {
      if (!covers(change, sector)) continue;
      any = true;
      if (change.left == value && !overwritten(change, sector)) return true;
    }
    return !any && value == std::byte{0};
  }
  bool overwritten(const Change& by, size_t sector) const {
    for (const Change& change : changes_) {
      if (covers(change, sector) && change.began > by.ended) return true;
    }
    return false;
  }
  static bool covers(const Change& change, size_t sector) {
    return sector >= change.first && sector < change.first + change.count;
  }

  std::deque<Change> changes_;  // they do not move
  unsigned now_ = 0;
};

}  // namespace

void fuzz(FuzzInput& input) {
  EventLoop loop;
  FuzzEngine engine;
  RawFile disk(engine, make_image(), std::nullopt, RawFile::Sparse::kKeep);
  Model model;
  while (input.next_step()) {
    if (!engine.waiting.empty() && (model.full() || input.take_bool())) {
      engine.complete(input, false);
    } else if (!model.full()) {
      model.begin(input, disk, loop);
    }
    loop.run_ready();
  }
  while (!engine.waiting.empty()) engine.complete(input, true);
  loop.run_ready();
  model.check(engine.content);
}

}  // namespace vmm::test
