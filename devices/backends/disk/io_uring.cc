// Submission and completion; see io_uring.h.
#include "devices/backends/disk/io_uring.h"

#include <fmt/core.h>
#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include "devices/backends/iovecs.h"
#include "vmm/core/check.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

namespace {

// Submission entries; the kernel doubles it for completions. More than one disk has requests, so that one whose storage
// hangs leaves room for the others; not so many that kernels before 5.12, which count them against
// RLIMIT_MEMLOCK, refuse.
constexpr unsigned kDepth = 512;
constexpr unsigned kMaxFiles = 512;  // two for an ephemeral disk
constexpr std::chrono::milliseconds kRetryDelay{1};
// What the kernel gets in one turn of the loop: where the page cache has it all, it is copied then and there.
constexpr size_t kTurnBytes = size_t{4} << 20;

void must(int result, const char* what) {
  if (result < 0) throw Error(fmt::format("io_uring is not available: {}: {}", what, errno_text(-result)));
}

int setup(io_uring& ring) {
  // Completions wait for our next system call instead of interrupting us, and say so (Linux 5.19; refused by older
  // ones).
  const int result = io_uring_queue_init(
      kDepth, &ring, IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
  return result == -EINVAL ? io_uring_queue_init(kDepth, &ring, IORING_SETUP_R_DISABLED) : result;
}

std::unique_ptr<io_uring> make_ring() {
  auto ring = std::make_unique<io_uring>();
  must(setup(*ring), "io_uring_setup");
  return ring;
}

void prepare(io_uring_sqe& sqe, IoRequest& request) {
  const auto& buffers = request.buffers;
  const auto count = static_cast<unsigned>(buffers.size());
  switch (request.verb) {
    case IoRequest::Verb::kRead:
      io_uring_prep_readv(&sqe, request.file, buffers.data(), count, request.offset);
      break;
    case IoRequest::Verb::kWrite:
      io_uring_prep_writev(&sqe, request.file, buffers.data(), count, request.offset);
      break;
    case IoRequest::Verb::kSync:
      io_uring_prep_fsync(&sqe, request.file, IORING_FSYNC_DATASYNC);
      break;
    case IoRequest::Verb::kAllocate:
      // The type of its numbers is another one since liburing 2.4.
      io_uring_prep_fallocate(&sqe, request.file, request.mode, 0, 0);
      sqe.off = request.offset;
      sqe.addr = request.length;
      break;
  }
  io_uring_sqe_set_flags(&sqe, IOSQE_FIXED_FILE);
  io_uring_sqe_set_data(&sqe, &request);
}

// By system call, because liburing before 2.4 declares these two but its shared library does not have them.
void register_at_birth(const io_uring& ring, unsigned what, void* argument, size_t count, const char* name) {
  const long result = ::syscall(SYS_io_uring_register, ring.ring_fd, what, argument, count);
  must(result < 0 ? -errno : 0, name);
}

io_uring_restriction restriction(uint16_t kind, uint8_t value) {
  io_uring_restriction result{};
  result.opcode = kind;
  result.sqe_op = value;  // one byte under three names
  return result;
}

}  // namespace

void IoUring::RingCloser::operator()(io_uring* ring) const {
  io_uring_queue_exit(ring);
  delete ring;
}

IoUring::IoUring(EventLoop& loop)
    : loop_(loop),
      ring_(make_ring().release()),
      completions_(loop, ring_->ring_fd, FdWatch::Event::kReadable,
                   [this] {
                     reap();
                     completions_.arm();
                   }),
      retry_(loop, [this] { submit(); }),
      budget_(loop, kTurnBytes),
      slots_(kMaxFiles, false) {
  restrict_and_enable();
  completions_.arm();
  loop_.add_poller(*this);
}

IoUring::~IoUring() {
  loop_.remove_poller(*this);
  drain();  // closing a ring does not wait for its requests
  *self_ = nullptr;
}

void IoUring::restrict_and_enable() {
  // The kernel's own threads take what blocks, fsync for one. As many as there are requests, for the reason above; they
  // exist while they are needed only. Before Linux 5.15 this fails, and the number is the kernel's choice.
  std::array<unsigned, 2> workers{kDepth, 0};  // 0: as it was
  io_uring_register_iowq_max_workers(ring_.get(), workers.data());

  const std::array<int, kMaxFiles> empty = [] {
    std::array<int, kMaxFiles> table;
    table.fill(-1);
    return table;
  }();
  must(io_uring_register_files(ring_.get(), empty.data(), kMaxFiles), "file table");

  // Later files may only be put into the table, and a descriptor must be open here for that.
  std::array allowed{restriction(IORING_RESTRICTION_REGISTER_OP, IORING_REGISTER_FILES_UPDATE),
                     restriction(IORING_RESTRICTION_SQE_OP, IORING_OP_READV),
                     restriction(IORING_RESTRICTION_SQE_OP, IORING_OP_WRITEV),
                     restriction(IORING_RESTRICTION_SQE_OP, IORING_OP_FSYNC),
                     restriction(IORING_RESTRICTION_SQE_OP, IORING_OP_FALLOCATE),
                     restriction(IORING_RESTRICTION_SQE_FLAGS_ALLOWED, IOSQE_FIXED_FILE),
                     restriction(IORING_RESTRICTION_SQE_FLAGS_REQUIRED, IOSQE_FIXED_FILE)};
  register_at_birth(*ring_, IORING_REGISTER_RESTRICTIONS, allowed.data(), allowed.size(), "restrictions");
  register_at_birth(*ring_, IORING_REGISTER_ENABLE_RINGS, nullptr, 0, "enabling");
}

int IoUring::add_file(int fd) {
  const auto slot = std::find(slots_.begin(), slots_.end(), false);
  if (slot == slots_.end()) throw Error(fmt::format("more than {} disk files", kMaxFiles));
  const auto index = static_cast<unsigned>(slot - slots_.begin());
  must(std::min(io_uring_register_files_update(ring_.get(), index, &fd, 1), 0), "registering a file");
  *slot = true;
  return static_cast<int>(index);
}

void IoUring::remove_file(int file) {
  const int none = -1;
  io_uring_register_files_update(ring_.get(), static_cast<unsigned>(file), &none, 1);
  slots_[static_cast<size_t>(file)] = false;
}

void IoUring::start(IoRequest& request) {
  waiting_.push(request);
  schedule_submit();
}

void IoUring::schedule_submit() {
  if (std::exchange(submit_scheduled_, true)) return;
  auto later = [weak = std::weak_ptr(self_)] {
    if (const auto self = weak.lock()) (*self)->submit();
  };
  // What a completion within submit() starts belongs to the next turn, or one disk could keep this turn for ever.
  submitting_ ? loop_.post(later) : loop_.at_end_of_turn(later);
}

void IoUring::submit() {
  submit_scheduled_ = false;
  submitting_ = true;
  hand_over();
  reap();  // what needed no waiting is done by now
  submitting_ = false;
}

// Moves what fits into the submission queue, and that to the kernel.
void IoUring::hand_over() {
  while (!waiting_.empty() && in_flight_ < kDepth && budget_.left() > 0 && broken_ == 0) {
    io_uring_sqe* sqe = io_uring_get_sqe(ring_.get());
    CHECK(sqe != nullptr);  // there are kDepth of them
    IoRequest& request = waiting_.pop();
    prepare(*sqe, request);
    budget_.charge(total_size(request.buffers));
    staged_.push(request);
    ++in_flight_;
  }
  if (broken_ != 0) return fail_unsubmitted(broken_);
  if (staged_.empty()) return;

  int accepted = 0;
  do {
    accepted = io_uring_submit(ring_.get());
  } while (accepted == -EINTR);
  for (int i = 0; i < accepted; ++i) staged_.pop();
  if (staged_.empty()) return;

  // The kernel took some or none. Those it took answer by themselves. A shortage passes: the others stay in the
  // submission queue and are offered again. Any other error is final, and the others fail.
  if (accepted >= 0 || accepted == -EAGAIN || accepted == -EBUSY || accepted == -ENOMEM) {
    retry_.start(kRetryDelay);
  } else {
    log_error("io_uring stopped taking requests: {}", errno_text(-accepted));
    fail_unsubmitted(accepted);
  }
}

// The queue entries of these requests are never offered to the kernel again: hand_over() stops before that.
void IoUring::fail_unsubmitted(int error) {
  broken_ = error;
  while (!staged_.empty()) {
    --in_flight_;
    staged_.pop().complete(error);
  }
  while (!waiting_.empty()) waiting_.pop().complete(error);
}

void IoUring::reap() {
  std::array<io_uring_cqe*, 64> entries;
  std::array<std::pair<IoRequest*, int>, entries.size()> done;
  while (const unsigned count = io_uring_peek_batch_cqe(ring_.get(), entries.data(), entries.size())) {
    for (unsigned i = 0; i < count; ++i) {
      done[i] = {static_cast<IoRequest*>(io_uring_cqe_get_data(entries[i])), entries[i]->res};
    }
    io_uring_cq_advance(ring_.get(), count);
    in_flight_ -= count;
    for (const auto& [request, result] : std::span(done).first(count)) request->complete(result);
  }
  if (!waiting_.empty() && in_flight_ < kDepth) schedule_submit();  // else with the next completion
}

bool IoUring::poll() {
  const bool ready =
      io_uring_cq_ready(ring_.get()) > 0 || (IO_URING_READ_ONCE(*ring_->sq.kflags) & IORING_SQ_TASKRUN) != 0;
  if (ready) reap();
  return ready;
}

void IoUring::drain() {
  while (in_flight_ > 0 || !waiting_.empty()) {
    budget_.renew();
    submit();
    io_uring_cqe* entry = nullptr;
    if (!staged_.empty()) {
      std::this_thread::sleep_for(kRetryDelay);  // the kernel takes no more at the moment
    } else if (in_flight_ > 0) {
      io_uring_wait_cqe(ring_.get(), &entry);
    }
  }
}

}  // namespace vmm
