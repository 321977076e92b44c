// The data path of a raw disk; see raw_file.h.
#include "devices/backends/disk/raw_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <utility>
#include <vector>

#include "devices/backends/iovecs.h"
#include "vmm/core/check.h"
#include "vmm/core/error.h"

namespace vmm {

namespace {

// What one request to the engine moves at most. The page cache may answer it on the loop's own thread.
constexpr size_t kMaxStep = 2 << 20;
// What one fallocate frees at most, so that other requests get their turn on the file.
constexpr uint64_t kMaxAllocateStep = 1 << 30;
constexpr size_t kBounceSize = 256 << 10;
constexpr std::chrono::milliseconds kLookPeriod{1};
// A file server may answer EAGAIN for ever.
constexpr unsigned kMaxRefusals = 16;

alignas(4096) std::array<std::byte, 64 << 10> zeroes;  // never written

uint64_t align_down(uint64_t value, uint64_t alignment) { return value / alignment * alignment; }
uint64_t align_up(uint64_t value, uint64_t alignment) { return align_down(value + alignment - 1, alignment); }

// What fallocate answers where the filesystem or device cannot do it, or not for such a range.
bool cannot_allocate(int error) { return error == EOPNOTSUPP || error == ENOSYS || error == EINVAL || error == ENODEV; }

}  // namespace

RawFile::RawFile(IoEngine& engine, ImageFile image, std::optional<ImageLock> lock, Sparse sparse)
    : engine_(engine),
      image_(std::move(image)),
      lock_(std::move(lock)),
      sparse_(sparse),
      file_(engine.add_file(image_.fd.get())),
      fence_(image_.size) {}

RawFile::~RawFile() {
  engine_.drain();  // requests use our buffers and our descriptor
  engine_.remove_file(file_);
}

RawFile::AlignedBuffer RawFile::aligned_buffer(size_t size) const {
  const size_t alignment =
      std::max<size_t>({image_.offset_alignment, image_.memory_alignment, alignof(std::max_align_t)});
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(alignment, align_up(size, alignment)));
  CHECK(memory != nullptr);
  return AlignedBuffer(memory);
}

std::string RawFile::describe() const {
  std::string text = fmt::format("{} (raw, ", image_.path);
  text += image_.size >= 1 << 30 ? fmt::format("{:.1f} GiB", static_cast<double>(image_.size) / (1 << 30))
                                 : fmt::format("{:.1f} MiB", static_cast<double>(image_.size) / (1 << 20));
  if (read_only()) text += ", read-only";
  if (image_.offset_alignment > 1) text += ", direct";
  // What is known of it: a server that hangs is not asked, because this is how a stuck disk is named.
  struct statx status {};
  const int result = ::statx(image_.fd.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_NLINK, &status);
  if (result == 0 && status.stx_nlink == 0) text += ", deleted";
  return text + ")";
}

uint64_t RawFile::refresh_size() {
  const uint64_t now = storage_size(image_.fd.get());
  const uint64_t usable = align_down(now, std::max<uint64_t>(image_.offset_alignment, 512));
  move_fence(now);
  if (usable > image_.size) image_.size = fence_ = usable;
  return now;
}

Task<int> RawFile::read(uint64_t offset, std::span<iovec> to) {
  return needs_bounce(offset, to) ? bounced(Verb::kRead, offset, to) : transfer(Verb::kRead, offset, to);
}

Task<int> RawFile::write(uint64_t offset, std::span<iovec> from, Durability durability) {
  std::optional<RangeLock::Turn> turn;
  if (image_.offset_alignment > 1) turn.emplace(co_await change_blocks(offset, total_size(from)));
  int error = 0;
  if (needs_bounce(offset, from)) {
    error = co_await bounced(Verb::kWrite, offset, from);
  } else {
    error = co_await transfer(Verb::kWrite, offset, from);
  }
  turn.reset();
  if (error != 0 || durability == Durability::kCached) co_return error;
  co_return co_await flush();
}

RangeLock::Acquire RawFile::change_blocks(uint64_t offset, uint64_t length) {
  return changes_.acquire(offset / image_.offset_alignment,
                          (offset + std::max<uint64_t>(length, 1) - 1) / image_.offset_alignment);
}

bool RawFile::grow(uint64_t size) {
  if (::ftruncate(image_.fd.get(), static_cast<off_t>(size)) < 0) return false;
  refresh_size();
  return image_.size == size;
}

bool RawFile::needs_bounce(uint64_t offset, std::span<const iovec> data) const {
  if (image_.offset_alignment == 1) return false;
  if (offset % image_.offset_alignment != 0 || data.size() > IOV_MAX) return true;
  // The length of every buffer counts as the file's (iov_iter_is_aligned() in lib/iov_iter.c).
  return std::any_of(data.begin(), data.end(), [this](const iovec& buffer) {
    return reinterpret_cast<uintptr_t>(buffer.iov_base) % image_.memory_alignment != 0 ||
           buffer.iov_len % image_.offset_alignment != 0;
  });
}

// Moves all of `data`, in as many steps as it takes.
Task<int> RawFile::transfer(Verb verb, uint64_t offset, std::span<iovec> data) {
  look_at_end();
  uint64_t left = total_size(data);
  // Writing past the end would let a truncated file grow back, with a hole in it.
  if (offset + left > fence_) co_return EIO;
  unsigned refusals = 0;
  while (left > 0) {
    std::span<const iovec> step = data;
    std::vector<iovec> front;
    if (left > kMaxStep || data.size() > IOV_MAX) step = front = copy_front(data, kMaxStep);
    auto operation = verb == Verb::kRead ? engine_.read(file_, offset, step) : engine_.write(file_, offset, step);
    const ssize_t done = co_await operation;
    if (done == -EINTR || (done == -EAGAIN && ++refusals < kMaxRefusals)) continue;
    if (done <= 0) {
      const int error = done == 0 ? EIO : static_cast<int>(-done);
      move_fence(known_size(image_.fd.get()));  // 0 is the end of the file
      guest_warn(errors_, "{}: {} at byte {} failed: {}", image_.path, verb == Verb::kRead ? "a read" : "a write",
                 offset, errno_text(error));
      co_return error;
    }
    offset += static_cast<uint64_t>(done);
    left -= static_cast<uint64_t>(done);
    data = drop_front(data, static_cast<size_t>(done));
  }
  co_return 0;
}

// A transfer of what O_DIRECT would refuse, through the bounce buffer. Blocks that are written in part are read first;
// the caller has their turn. One at a time, as there is one buffer.
Task<int> RawFile::bounced(Verb verb, uint64_t offset, std::span<iovec> data) {
  const auto turn = co_await bounce_turn_.acquire(0, 0);
  if (!bounce_) bounce_ = aligned_buffer(kBounceSize);
  uint64_t left = total_size(data);
  while (left > 0) {
    const uint64_t begin = align_down(offset, image_.offset_alignment);
    const size_t lead = offset - begin;
    const size_t length = std::min<uint64_t>(left, kBounceSize - lead);
    const size_t whole = align_up(lead + length, image_.offset_alignment);
    const std::span<std::byte> part(bounce_.get() + lead, length);

    if (verb == Verb::kRead || whole != length) {
      iovec buffer{bounce_.get(), whole};
      if (const int error = co_await transfer(Verb::kRead, begin, {&buffer, 1})) co_return error;
    }
    if (verb == Verb::kRead) {
      scatter(part, data);
    } else {
      gather(data, part);
      iovec buffer{bounce_.get(), whole};
      if (const int error = co_await transfer(Verb::kWrite, begin, {&buffer, 1})) co_return error;
    }
    offset += length;
    left -= length;
    data = drop_front(data, length);
  }
  co_return 0;
}

Task<int> RawFile::flush() {
  if (read_only()) co_return 0;  // nothing of ours is unwritten
  // One fdatasync at a time: of two, one might take the error and the other report success. It covers everybody who
  // asked before it began, so those who waited meanwhile share the next one.
  const uint64_t mine = ++flushes_asked_;
  const auto turn = co_await flush_turn_.acquire(0, 0);
  while (flush_error_ == 0 && flushes_done_ < mine) {
    const uint64_t covered = flushes_asked_;
    const ssize_t result = co_await engine_.sync_data(file_);
    if (result == 0) flushes_done_ = covered;
    if (result == 0 || result == -EINTR) continue;
    latch_flush_error(static_cast<int>(-result));
  }
  co_return flush_error_;
}

// The kernel reports this once and then forgets the pages, so the next flush would lie.
void RawFile::latch_flush_error(int error) {
  if (std::exchange(flush_error_, error) != 0) return;
  log_error("{}: fdatasync failed: {}; written data may be lost, and every later flush of this disk fails", image_.path,
            errno_text(error));
}

Task<int> RawFile::discard(uint64_t offset, uint64_t length) {
  if (sparse_ == Sparse::kKeep) co_return 0;
  const int error = co_await allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
  co_return cannot_allocate(error) ? 0 : error;  // Doing nothing is allowed
}

// Zeroes are made by whatever the file system has, in the end by writing.
Task<int> RawFile::write_zeroes(uint64_t offset, uint64_t length, Unmap unmap) {
  if (unmap == Unmap::kAllowed && sparse_ == Sparse::kGiveBack) {
    const int error = co_await allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
    if (!cannot_allocate(error)) co_return error;
  }
  const int error = co_await allocate(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
  if (!cannot_allocate(error)) co_return error;
  co_return co_await write_zero_buffers(offset, length);
}

Task<int> RawFile::allocate(int mode, uint64_t offset, uint64_t length) {
  std::optional<RangeLock::Turn> turn;
  if (image_.offset_alignment > 1) turn.emplace(co_await change_blocks(offset, length));
  look_at_end();
  if (offset + length > fence_) co_return EIO;
  while (length > 0) {
    const uint64_t step = std::min(length, kMaxAllocateStep);
    const ssize_t result = co_await engine_.allocate(file_, mode, offset, step);
    if (result == -EINTR) continue;
    if (result < 0) co_return static_cast<int>(-result);
    offset += step;
    length -= step;
  }
  co_return 0;
}

Task<int> RawFile::write_zero_buffers(uint64_t offset, uint64_t length) {
  while (length > 0) {
    std::array<iovec, 16> buffers;
    size_t count = 0;
    uint64_t step = 0;
    for (; count < buffers.size() && step < length; ++count) {
      buffers[count] = {zeroes.data(), std::min<uint64_t>(zeroes.size(), length - step)};
      step += buffers[count].iov_len;
    }
    if (const int error = co_await write(offset, std::span(buffers).first(count), Durability::kCached)) co_return error;
    offset += step;
    length -= step;
  }
  co_return 0;
}

void RawFile::look_at_end() {
  const auto now = std::chrono::steady_clock::now();
  if (now - last_look_ < kLookPeriod) return;
  last_look_ = now;
  move_fence(known_size(image_.fd.get()));
}

void RawFile::move_fence(uint64_t storage) {
  const uint64_t before = std::exchange(fence_, std::min(storage, image_.size));
  if (fence_ < before) {
    log_error("{} shrank from {} to {} bytes while in use; requests past its end fail", image_.path, before, storage);
  } else if (fence_ > before && fence_ == image_.size) {
    log_info("{} is complete again: {} bytes", image_.path, storage);
  }
}

}  // namespace vmm
