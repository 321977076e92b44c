// The split ring, device side; see virtqueue.h. Layout (Virtio 1.2 §2.7.6, §2.7.8):
//
//   available: flags u16 | idx u16 | ring[size] u16 | used_event u16
//   used:      flags u16 | idx u16 | ring[size] {id u32, len u32} | avail_event u16
//
// Indices are loaded and stored sequentially consistent: each side publishes its index and then reads the other's wish
// for notification, and neither may be reordered with the other (§2.7.13.4.1).
#include "devices/virtio/virtqueue.h"

#include <bit>
#include <utility>

#include "devices/virtio/spec.h"
#include "vmm/core/trace.h"

namespace vmm {

namespace {

constexpr size_t kIndexOffset = 2;
constexpr size_t kRingOffset = 4;
constexpr uint16_t kMaxQueueSize = 32768;
// An indirect table may be longer than the queue; this is what Linux accepts as one scatter list (UIO_MAXIOV).
constexpr size_t kMaxIndirect = 1024;

size_t available_bytes(size_t size) { return kRingOffset + size * sizeof(uint16_t) + sizeof(uint16_t); }
size_t used_bytes(size_t size) { return kRingOffset + size * sizeof(vring_used_elem) + sizeof(uint16_t); }

// The size of all buffers. A driver must not make it more than 2^32 bytes (§2.7.5); the used length cannot tell 2^32
// itself. With buffers that overlap, a chain could be a thousand times the size of RAM.
size_t total_size(const DescriptorChain& chain) { return chain.readable_size() + chain.writable_size(); }

std::optional<GuestSlice> ring_part(const GuestMemory& memory, GuestAddress address, size_t bytes, size_t alignment) {
  if (address.value % alignment != 0) return std::nullopt;
  return memory.slice(address, bytes);
}

}  // namespace

Virtqueue::Virtqueue(EventLoop& loop, const EventFd& kick, const VirtqueueConfig& config)
    : loop_(loop),
      kick_(kick),
      config_(config),
      kick_watch_(loop, kick.fd(), FdWatch::Event::kReadable, [this] { on_kick(); }),
      in_flight_(config.size, false),
      budget_(config.size),
      self_(std::make_shared<Virtqueue*>(this)) {}

std::unique_ptr<Virtqueue> Virtqueue::create(const GuestMemory& memory, EventLoop& loop, const EventFd& kick,
                                             const VirtqueueConfig& config, std::function<void()> interrupt,
                                             std::function<void(const char*)> on_broken) {
  if (!std::has_single_bit(config.size) || config.size > kMaxQueueSize) return nullptr;
  // Alignments: §2.7 table.
  const auto descriptors = ring_part(memory, config.descriptors, config.size * sizeof(vring_desc), 16);
  const auto available = ring_part(memory, config.available, available_bytes(config.size), 2);
  const auto used = ring_part(memory, config.used, used_bytes(config.size), 4);
  if (!descriptors || !available || !used) return nullptr;

  std::unique_ptr<Virtqueue> queue(new Virtqueue(loop, kick, config));
  queue->memory_ = &memory;
  queue->descriptors_ = *descriptors;
  queue->available_ = *available;
  queue->used_ = *used;
  queue->interrupt_ = std::move(interrupt);
  queue->on_broken_ = std::move(on_broken);
  loop.add_poller(*queue);
  return queue;
}

Virtqueue::~Virtqueue() {
  CHECK(in_flight_count_ == 0);
  loop_.remove_poller(*this);
  *self_ = nullptr;
}

void Virtqueue::on_kick() {
  kick_.drain();
  trace(TraceArea::kVirtio, "{}: the driver notifies", config_.name);
  if (stopped_) return;
  kick_watch_.arm();
  wake_waiters();
}

// Hands chains to waiting tasks. What is left when this turn's budget is used up comes in the next turn.
void Virtqueue::wake_waiters() {
  while (!waiters_.empty()) {
    auto chain = next_request();
    if (!chain) return;
    NextAwaiter* waiter = waiters_.front();
    waiters_.pop_front();
    waiter->chain_.emplace(std::move(*chain));
    waiter->waiting_.resume();
  }
}

void Virtqueue::take_available() {
  budget_ = config_.size;
  wake_waiters();
}

bool Virtqueue::poll() {
  if (stopped_ || waiters_.empty() || !has_available()) return false;
  wake_waiters();
  return true;
}

// Everybody waits for the driver: ask for its notification, then look again, because it may have been adding.
bool Virtqueue::rest() {
  if (stopped_ || waiters_.empty()) return false;
  if (!std::exchange(asked_, true)) want_notification();
  return has_available();
}

bool Virtqueue::has_available() const {
  return available_.load<uint16_t>(kIndexOffset, std::memory_order_seq_cst) != next_available_;
}

std::optional<uint16_t> Virtqueue::pop_head() {
  const auto index = available_.load<uint16_t>(kIndexOffset, std::memory_order_seq_cst);
  const auto pending = static_cast<uint16_t>(index - next_available_);
  if (pending == 0) return std::nullopt;
  if (pending > config_.size) {
    break_ring("the available index moved by more than the queue's size");
    return std::nullopt;
  }
  const size_t slot = next_available_ % config_.size;
  const auto head = available_.load<uint16_t>(kRingOffset + slot * sizeof(uint16_t));
  if (head >= config_.size) {
    break_ring("an available entry names a descriptor beyond the table");
    return std::nullopt;
  }
  if (in_flight_[head]) {
    break_ring("a buffer was made available again before it was returned");
    return std::nullopt;
  }
  ++next_available_;
  asked_ = false;
  return head;
}

std::optional<DescriptorChain> Virtqueue::try_next() {
  while (!stopped_ && budget_ > 0) {
    const auto head = pop_head();
    if (!head) return std::nullopt;
    --budget_;
    schedule_end_of_turn();
    in_flight_[*head] = true;
    ++in_flight_count_;
    ++stats_.chains;
    DescriptorChain chain(*this, *head);
    if (!spare_slices_.empty()) {
      chain.slices_ = std::move(spare_slices_.back());
      spare_slices_.pop_back();
    }
    const bool whole = walk(*head, chain) && total_size(chain) <= UINT32_MAX;
    if (traced(TraceArea::kVirtio)) {
      trace(TraceArea::kVirtio, "{}: buffer {}{}, {} bytes to read, {} to write", config_.name, *head,
            whole ? "" : ", malformed", chain.readable_size(), chain.writable_size());
    }
    if (whole) return chain;
    // The head is known, so the driver gets it back: leaving the scope returns it with length 0.
    ++stats_.bad_chains;
  }
  return std::nullopt;
}

std::optional<DescriptorChain> Virtqueue::next_request() {
  auto chain = try_next();
  if (chain) loop_.count_request();
  return chain;
}

bool Virtqueue::walk(uint16_t head, DescriptorChain& chain) const {
  return walk_table(descriptors_, head, config_.size, false, chain);
}

// Follows a chain through the descriptor table or through an indirect one (§2.7.5.3). False when it is malformed: a
// loop, a link out of the table, a buffer that is not RAM, or a readable buffer after a writable one.
bool Virtqueue::walk_table(const GuestSlice& table, size_t first, size_t limit, bool indirect,
                           DescriptorChain& chain) const {
  size_t index = first;
  for (size_t steps = 0; steps < limit; ++steps) {
    if (index >= table.size() / sizeof(vring_desc)) return false;
    const auto descriptor = table.copy_at<vring_desc>(index * sizeof(vring_desc));
    if ((descriptor.flags & VRING_DESC_F_INDIRECT) != 0) {
      const bool linked = (descriptor.flags & VRING_DESC_F_NEXT) != 0;
      if (indirect || linked || !config_.indirect) return false;
      const size_t entries = descriptor.len / sizeof(vring_desc);
      if (descriptor.len % sizeof(vring_desc) != 0 || entries == 0 || entries > kMaxIndirect) return false;
      const auto inner = memory_->slice({descriptor.addr}, descriptor.len);
      return inner && walk_table(*inner, 0, entries, true, chain);
    }
    if (descriptor.len > 0) {
      const auto buffer = memory_->slice({descriptor.addr}, descriptor.len);
      if (!buffer) return false;
      const bool writable = (descriptor.flags & VRING_DESC_F_WRITE) != 0;
      if (!writable && chain.slices_.size() > chain.readable_count_) return false;
      chain.slices_.push_back(*buffer);
      if (!writable) ++chain.readable_count_;
    }
    if ((descriptor.flags & VRING_DESC_F_NEXT) == 0) return true;
    index = descriptor.next;
  }
  return false;
}

void Virtqueue::complete(DescriptorChain& chain) {
  trace(TraceArea::kVirtio, "{}: buffer {} returned, {} bytes written", config_.name, chain.head_, chain.written_);
  in_flight_[chain.head_] = false;
  --in_flight_count_;
  const size_t entry = kRingOffset + (next_used_ % config_.size) * sizeof(vring_used_elem);
  used_.store<uint32_t>(entry, chain.head_);
  used_.store<uint32_t>(entry + sizeof(uint32_t), chain.written_);
  used_.store<uint16_t>(kIndexOffset, ++next_used_, std::memory_order_seq_cst);
  chain.slices_.clear();
  spare_slices_.push_back(std::move(chain.slices_));
  schedule_end_of_turn();
}

void Virtqueue::put_back(DescriptorChain chain) {
  const size_t slot = static_cast<uint16_t>(next_available_ - 1) % config_.size;
  if (available_.load<uint16_t>(kRingOffset + slot * sizeof(uint16_t)) != chain.head_) return;
  chain.queue_ = nullptr;  // so that it is not returned
  in_flight_[chain.head_] = false;
  --in_flight_count_;
  --stats_.chains;
  --next_available_;
  asked_ = false;
  chain.slices_.clear();
  spare_slices_.push_back(std::move(chain.slices_));
}

// Asks for a notification of the next buffer. With an event index nothing has to take this back: an avail_event that
// lies behind keeps the driver quiet. Without one the driver always notifies, as long as the flags are zero.
void Virtqueue::want_notification() {
  if (config_.event_index) {
    const size_t avail_event = kRingOffset + config_.size * sizeof(vring_used_elem);
    used_.store<uint16_t>(avail_event, next_available_, std::memory_order_seq_cst);
  } else {
    used_.store<uint16_t>(0, 0, std::memory_order_seq_cst);
  }
}

void Virtqueue::schedule_end_of_turn() {
  if (std::exchange(end_of_turn_scheduled_, true)) return;
  loop_.at_end_of_turn([weak = std::weak_ptr(self_)] {
    const auto self = weak.lock();
    if (!self) return;
    Virtqueue& queue = **self;
    queue.end_of_turn_scheduled_ = false;
    queue.budget_ = queue.config_.size;
    queue.notify_driver();
  });
}

// Tells the driver of used buffers unless it said not to (§2.7.7.2, §2.7.10).
void Virtqueue::notify_driver() {
  const uint16_t before = std::exchange(signalled_used_, next_used_);
  if (before == next_used_) return;
  bool wanted = false;
  if (config_.event_index) {
    const size_t offset = kRingOffset + config_.size * sizeof(uint16_t);
    const auto used_event = available_.load<uint16_t>(offset, std::memory_order_seq_cst);
    wanted = vring_need_event(used_event, next_used_, before) != 0;
  } else {
    wanted = (available_.load<uint16_t>(0, std::memory_order_seq_cst) & VRING_AVAIL_F_NO_INTERRUPT) == 0;
  }
  if (!wanted) return;
  ++stats_.interrupts;
  interrupt_();
}

void Virtqueue::break_ring(const char* why) {
  stop();
  on_broken_(why);
}

void Virtqueue::stop() {
  if (std::exchange(stopped_, true)) return;
  kick_watch_.disarm();
  for (NextAwaiter* waiter : std::exchange(waiters_, {})) waiter->waiting_.resume();
}

Virtqueue::NextAwaiter Virtqueue::next() { return NextAwaiter(*this); }

bool Virtqueue::NextAwaiter::await_ready() {
  if (queue_.stopped_) return true;
  if (auto chain = queue_.next_request()) chain_.emplace(std::move(*chain));
  return chain_.has_value() || queue_.stopped_;
}

void Virtqueue::NextAwaiter::await_suspend(std::coroutine_handle<> waiting) {
  waiting_ = waiting;
  queue_.waiters_.push_back(this);
  queue_.kick_watch_.arm();
}

}  // namespace vmm
