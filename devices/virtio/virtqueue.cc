// The split ring, device side; see virtqueue.h. Layout (Virtio 1.2 §2.7.6, §2.7.8):
//
//   available: flags u16 | idx u16 | ring[size] u16 | used_event u16
//   used:      flags u16 | idx u16 | ring[size] {id u32, len u32} | avail_event u16
//
// Indices are loaded and stored sequentially consistent: each side publishes its index and then reads the other's wish
// for notification, and neither may be reordered with the other (§2.7.13.4.1).
#include "devices/virtio/virtqueue.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "devices/virtio/spec.h"
#include "vmm/core/trace.h"

namespace vmm {

namespace {

constexpr size_t kIndexOffset = 2;
constexpr size_t kRingOffset = 4;
constexpr uint16_t kMaxQueueSize = 32768;
// Buffers of an indirect table; this is what Linux accepts as one scatter list (UIO_MAXIOV).
constexpr size_t kMaxIndirect = 1024;
constexpr size_t kMaxLinked = 65536;  // the links have 16 bits

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
      budget_(loop, kTurnBytes),
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
  budget_.renew();
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
  while (!stopped_ && budget_.left() > 0) {
    const auto head = pop_head();
    if (!head) return std::nullopt;
    budget_.charge(kChainBytes);
    schedule_end_of_turn();
    in_flight_[*head] = true;
    ++in_flight_count_;
    ++stats_.chains;
    DescriptorChain chain(*this, *head);
    if (!spare_slices_.empty()) {
      chain.slices_ = std::move(spare_slices_.back());
      spare_slices_.pop_back();
    }
    Walk walked = walk(*head, chain);
    const size_t size = total_size(chain);
    if (walked == Walk::kWhole && size > UINT32_MAX) walked = Walk::kTooLong;
    if (traced(TraceArea::kVirtio)) {
      constexpr const char* kHow[] = {"", ", too long", ", malformed"};
      trace(TraceArea::kVirtio, "{}: buffer {}{}, {} bytes to read, {} to write", config_.name, *head,
            kHow[static_cast<size_t>(walked)], chain.readable_size(), chain.writable_size());
    }
    if (walked == Walk::kWhole) {
      budget_.charge(size);
      count_work(size);
      return chain;
    }
    // The head is known, so the driver gets it back: leaving the scope returns it with length 0.
    ++stats_.bad_chains;
    if (walked == Walk::kTooLong && on_too_long_) on_too_long_(chain);
  }
  return std::nullopt;
}

std::optional<DescriptorChain> Virtqueue::next_request() {
  auto chain = try_next();
  if (chain) loop_.count_request();
  return chain;
}

// Follows a chain through the descriptor table. Malformed is one with a loop, a link out of its table, a buffer that is
// not RAM, or a readable buffer after a writable one.
Virtqueue::Walk Virtqueue::walk(uint16_t head, DescriptorChain& chain) {
  size_t index = head;
  for (size_t steps = 0; steps < config_.size; ++steps) {
    budget_.charge(kDescriptorBytes);
    if (index >= config_.size) return Walk::kMalformed;
    const auto descriptor = descriptors_.copy_at<vring_desc>(index * sizeof(vring_desc));
    if ((descriptor.flags & VRING_DESC_F_INDIRECT) != 0) return walk_indirect(descriptor, steps, chain);
    if (!add_buffer(descriptor, false, chain)) return Walk::kMalformed;
    if ((descriptor.flags & VRING_DESC_F_NEXT) == 0) return Walk::kWhole;
    index = descriptor.next;
  }
  return Walk::kMalformed;
}

// The rest of a chain, or all of it, is in a table of its own (§2.7.5.3). No chain may be longer than the queue; but
// drivers, Linux's among them, make a table by the number of segments that the device takes, in a queue that they made
// smaller, so one that is the whole chain may be.
Virtqueue::Walk Virtqueue::walk_indirect(const vring_desc& descriptor, size_t before, DescriptorChain& chain) {
  if ((descriptor.flags & VRING_DESC_F_NEXT) != 0 || !config_.indirect) return Walk::kMalformed;
  const size_t entries = descriptor.len / sizeof(vring_desc);
  const auto table = memory_->slice({descriptor.addr}, descriptor.len);
  if (!table || descriptor.len % sizeof(vring_desc) != 0) return Walk::kMalformed;
  if (entries == 0 || entries > kMaxLinked) return Walk::kMalformed;
  const size_t most = before > 0 ? config_.size - before : std::max<size_t>(config_.size, kMaxIndirect);
  size_t index = 0;
  for (size_t steps = 1; steps <= entries; ++steps) {
    budget_.charge(kDescriptorBytes);
    if (index >= entries) return Walk::kMalformed;
    const auto inner = table->copy_at<vring_desc>(index * sizeof(vring_desc));
    if ((inner.flags & VRING_DESC_F_INDIRECT) != 0) return Walk::kMalformed;
    if (!add_buffer(inner, steps > most, chain)) return Walk::kMalformed;
    if ((inner.flags & VRING_DESC_F_NEXT) == 0) return steps > most ? Walk::kTooLong : Walk::kWhole;
    index = inner.next;
  }
  return Walk::kMalformed;
}

// A buffer joins its chain; of one that is too long, only the last writable buffer does. False when it is malformed.
bool Virtqueue::add_buffer(const vring_desc& descriptor, bool too_long, DescriptorChain& chain) const {
  if (descriptor.len == 0) return true;
  const auto buffer = memory_->slice({descriptor.addr}, descriptor.len);
  const bool writable = (descriptor.flags & VRING_DESC_F_WRITE) != 0;
  if (!buffer || (!writable && !chain.writable().empty())) return false;
  if (too_long && !writable) return true;
  if (too_long && !chain.writable().empty()) chain.slices_.pop_back();
  chain.slices_.push_back(*buffer);
  if (!writable) ++chain.readable_count_;
  return true;
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
