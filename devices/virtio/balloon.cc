// What becomes of pages, and the configuration; see balloon.h.
#include "devices/virtio/balloon.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "vmm/core/error.h"
#include "vmm/core/turn_budget.h"

namespace vmm {

namespace {

constexpr size_t kQueueInflate = 0;
constexpr size_t kQueueDeflate = 1;
constexpr size_t kQueueStatistics = 2;
constexpr size_t kQueueHints = 3;  // of a driver that hints

constexpr uint64_t kBalloonPage = uint64_t{1} << VIRTIO_BALLOON_PFN_SHIFT;
// Page numbers that are looked at together, and as many as one buffer may have. Linux sends 256.
constexpr size_t kBatch = 256;
constexpr size_t kMaxPages = 64 * 1024;
// Statistics of one buffer that are looked at.
constexpr size_t kMaxStatistics = 64;
// Work on memory takes the host time, for each call, which counts as so many bytes, and for each page. So it is done in
// pieces of a huge page, and so much of it in one turn of the loop.
constexpr size_t kPiece = 2 << 20;
constexpr size_t kCallBytes = 64 << 10;
constexpr size_t kTurnBytes = 64 << 20;

// Page numbers that follow each other, up or down, as one range; they come so from an allocator.
class PageRun {
 public:
  explicit PageRun(const GuestMemory& memory) : memory_(memory) {}

  // Whether the page belongs to the range, which then has it.
  bool take(uint64_t page) {
    if (!range_.empty() && page >= first_ && page < first_ + count_) return true;
    if (!range_.empty() && page != first_ + count_ && page + 1 != first_) return false;
    const uint64_t first = range_.empty() ? page : std::min(page, first_);
    const auto range = memory_.slice({first * kBalloonPage}, (count_ + 1) * kBalloonPage);
    if (!range) return false;  // the end of a region of RAM
    first_ = first;
    ++count_;
    range_ = *range;
    return true;
  }
  // The range, after which there is none.
  GuestSlice end() {
    count_ = 0;
    return std::exchange(range_, {});
  }

 private:
  const GuestMemory& memory_;
  uint64_t first_ = 0;
  uint64_t count_ = 0;
  GuestSlice range_;
};

// What a task does to memory, until others have their turn.
class Shift {
 public:
  using Work = size_t (GuestSlice::*)() const;

  // `bytes` counts what the work says it was done to.
  Shift(EventLoop& loop, Work work, uint64_t& bytes) : work_(work), bytes_(bytes), budget_(loop, kTurnBytes) {}

  [[nodiscard]] TurnBudget::Spend work_on(const GuestSlice& piece) {
    bytes_ += (piece.*work_)();
    return budget_.spend(piece.size() + kCallBytes);
  }

 private:
  const Work work_;
  uint64_t& bytes_;
  TurnBudget budget_;
};

Task<void> work_on_writable(Virtqueue& queue, const DescriptorChain& chain, Shift& shift) {
  for (const GuestSlice& range : chain.writable()) {
    for (size_t done = 0; done < range.size() && !queue.stopped(); done += kPiece) {
      co_await shift.work_on(range.sub(done, kPiece));
    }
  }
}

Task<void> return_all(Virtqueue& queue) {
  while (auto chain = co_await queue.next()) continue;
}

}  // namespace

void require_balloon_fits(uint64_t balloon, uint64_t memory) {
  if (balloon <= memory) return;
  throw Error(fmt::format("a balloon of {} MiB is larger than the guest's memory, {} MiB", balloon >> 20, memory >> 20),
              fmt::format("{}M, or less", memory >> 20));
}

VirtioBalloon::VirtioBalloon(const BalloonConfig& config, uint64_t memory) : config_(config), memory_size_(memory) {
  set_target(config.size);
}

VirtioTraits VirtioBalloon::traits() const {
  uint64_t features = feature(VIRTIO_BALLOON_F_STATS_VQ) | feature(VIRTIO_BALLOON_F_FREE_PAGE_HINT);
  if (config_.deflate_on_oom) features |= feature(VIRTIO_BALLOON_F_DEFLATE_ON_OOM);
  // A guest that fills its free pages would otherwise not report them (§5.5.6.7).
  if (config_.reporting) features |= feature(VIRTIO_BALLOON_F_REPORTING) | feature(VIRTIO_BALLOON_F_PAGE_POISON);
  return {.device_id = VIRTIO_ID_BALLOON,
          .features = features,
          .queue_sizes = {128, 128, 16, 64, 64},
          .config_size = sizeof(virtio_balloon_config)};
}

// ---- the size

void VirtioBalloon::set_target(uint64_t bytes) {
  require_balloon_fits(bytes, memory_size_);
  change_config([this, bytes] { target_pages_ = static_cast<uint32_t>(bytes / kBalloonPage); });
}

uint64_t VirtioBalloon::actual() const { return std::min(actual_pages_.load() * kBalloonPage, memory_size_); }

void VirtioBalloon::read_config(size_t offset, std::span<std::byte> out) const {
  virtio_balloon_config config = {};
  config.num_pages = target_pages_;
  config.actual = actual_pages_;
  config.free_page_hint_cmd_id = hint_command_;
  config.poison_val = poison_;
  const auto bytes = std::as_bytes(std::span(&config, 1)).subspan(offset, out.size());
  std::ranges::copy(bytes, out.begin());
}

void VirtioBalloon::write_config(size_t offset, std::span<const std::byte> in) {
  uint32_t value = 0;
  if (in.size() != sizeof value) return;
  std::memcpy(&value, in.data(), sizeof value);
  if (offset == offsetof(virtio_balloon_config, actual)) actual_pages_ = value;
  if (offset == offsetof(virtio_balloon_config, poison_val)) poison_ = value;
}

void VirtioBalloon::request_statistics(std::function<void()> told) {
  told_ = std::move(told);
  statistics_wanted_.notify();
}

// ---- what is free

void VirtioBalloon::request_hints(std::function<void()> told) {
  if (!running_ || !has(VIRTIO_BALLOON_F_FREE_PAGE_HINT)) {
    throw Error("the guest's driver does not tell what is free", "Linux 4.20 or newer with virtio_balloon");
  }
  // A driver that has not come to an end keeps what it hinted so far, and does not hint it again.
  if (!hinting()) hints_ = {};
  hints_told_ = std::move(told);
  last_hint_id_ = next_hint_id(last_hint_id_);
  set_hint_command(last_hint_id_);
}

// The driver takes back then what it hinted.
void VirtioBalloon::end_hints() {
  if (hinting()) set_hint_command(VIRTIO_BALLOON_CMD_ID_DONE);
}

void VirtioBalloon::set_hint_command(uint32_t command) {
  change_config([this, command] { hint_command_ = command; });
}

// ---- the queues

Task<void> VirtioBalloon::serve(size_t index, Virtqueue& queue) {
  if (index == kQueueInflate) return inflate(queue);
  if (index == kQueueDeflate) return return_all(queue);
  if (index == kQueueStatistics) return has(VIRTIO_BALLOON_F_STATS_VQ) ? collect_statistics(queue) : return_all(queue);
  if (index == kQueueHints && has(VIRTIO_BALLOON_F_FREE_PAGE_HINT)) return take_hints(queue);
  return has(VIRTIO_BALLOON_F_REPORTING) ? report(queue) : return_all(queue);
}

void VirtioBalloon::activate(uint64_t features) {
  features_ = features;
  running_ = true;
}

void VirtioBalloon::stopping() {
  running_ = false;
  told_ = nullptr;
  statistics_wanted_.notify();
}

void VirtioBalloon::reset() {
  features_ = 0;
  actual_pages_ = 0;
  poison_ = 0;
  set_hint_command(VIRTIO_BALLOON_CMD_ID_STOP);
  hints_ = {};
  statistics_.reset();
  statistics_wanted_ = {};
}

Task<void> VirtioBalloon::inflate(Virtqueue& queue) {
  std::array<uint32_t, kBatch> pages;
  Shift shift(queue.loop(), &GuestSlice::discard, counts_.discarded_bytes);
  while (auto chain = co_await queue.next()) {
    const size_t count = std::min(chain->readable_size() / sizeof pages[0], kMaxPages);
    for (size_t done = 0; done < count && !queue.stopped(); done += kBatch) {
      const auto batch = std::span(pages).first(std::min(count - done, kBatch));
      chain->read_at(done * sizeof pages[0], std::as_writable_bytes(batch));
      PageRun run(queue.memory());
      for (const uint32_t page : batch) {
        if (run.take(page)) continue;
        co_await shift.work_on(run.end());
        if (run.take(page)) continue;
        ++counts_.bad_pages;
        guest_debug(log_limit_, "virtio-balloon: page {:#x} is no RAM", page);
      }
      co_await shift.work_on(run.end());
    }
  }
}

Task<void> VirtioBalloon::report(Virtqueue& queue) {
  Shift shift(queue.loop(), &GuestSlice::discard, counts_.discarded_bytes);
  while (auto chain = co_await queue.next()) {
    // A guest that fills its free pages wants to find them so, and a page that was given back is zeroes.
    if (has(VIRTIO_BALLOON_F_PAGE_POISON) && poison_ != 0) continue;
    co_await work_on_writable(queue, *chain, shift);
  }
}

Task<void> VirtioBalloon::take_hints(Virtqueue& queue) {
  Shift shift(queue.loop(), &GuestSlice::advise_cold, hints_.bytes);
  uint32_t answered = VIRTIO_BALLOON_CMD_ID_STOP;  // the request that the driver is at, as it says
  while (auto chain = co_await queue.next()) {
    const bool wanted = hinting() && answered == hint_command_;
    uint32_t command = 0;
    if (chain->read_at(0, std::as_writable_bytes(std::span(&command, 1))) < sizeof command) {
      if (wanted) co_await work_on_writable(queue, *chain, shift);
      continue;
    }
    answered = command;
    if (!wanted || command != VIRTIO_BALLOON_CMD_ID_STOP) continue;
    hints_.complete = true;
    end_hints();
    if (const auto told = std::exchange(hints_told_, nullptr)) told();
  }
}

Task<void> VirtioBalloon::collect_statistics(Virtqueue& queue) {
  while (auto chain = co_await queue.next()) {
    take_statistics(*chain);
    co_await statistics_wanted_;
    if (!running_) co_return;  // the queue may not know yet
  }
}

void VirtioBalloon::take_statistics(const DescriptorChain& chain) {
  std::array<virtio_balloon_stat, kMaxStatistics> all;
  const size_t read = chain.read_at(0, std::as_writable_bytes(std::span(all)));
  Statistics statistics = {.when = std::chrono::steady_clock::now(), .values = {}};
  for (const virtio_balloon_stat& one : std::span(all).first(read / sizeof all[0])) {
    const uint64_t value = one.val;  // the structure is packed: nothing may refer to its members
    if (one.tag < statistics.values.size()) statistics.values[one.tag] = value;
  }
  statistics_ = statistics;
  if (const auto told = std::exchange(told_, nullptr)) told();
}

}  // namespace vmm
