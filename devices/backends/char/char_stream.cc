// Moving a console's bytes without ever waiting for anybody; see char_stream.h.
#include "devices/backends/char/char_stream.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "vmm/core/error.h"
#include "vmm/core/log.h"
#include "vmm/core/new_file.h"

namespace vmm {

namespace {

constexpr size_t kStampSize = 16;  // at least "[99999999.999] "

UniqueFd open_log(const std::string& path) {
  if (path.empty()) return UniqueFd();
  UniqueFd log(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644));
  if (!log) {
    throw Error(fmt::format("cannot open console log '{}': {}", path, errno_text(errno)),
                "name a file that can be written, or leave log= out");
  }
  return log;
}

}  // namespace

CharStream::CharStream(EventLoop& loop, std::unique_ptr<CharEndpoint> endpoint, const CharConfig& config)
    : loop_(loop),
      endpoint_(std::move(endpoint)),
      log_(open_log(config.log_path)),
      timestamps_(config.timestamps),
      pace_(loop, [this] { drain(); }),
      stall_(loop, [this] { on_stall(); }),
      input_retry_(loop, [this] { deliver(); }),
      self_(std::make_shared<CharStream*>(this)) {
  endpoint_->start([this](CharPeer peer) { set_peer(peer); });
}

void CharStream::on_loop(void (CharStream::*member)()) {
  loop_.post([weak = std::weak_ptr(self_), member] {
    if (const auto self = weak.lock(); self) ((*self)->*member)();
  });
}

void CharStream::set_peer(CharPeer peer) {
  readable_.reset();
  writable_.reset();
  stall_.cancel();
  input_retry_.cancel();
  stalled_ = false;
  peer_ = peer;
  if (peer.input >= 0) {
    readable_.emplace(loop_, peer.input, FdWatch::Event::kReadable, [this] { read_input(); });
    if (incoming_.room() >= kReadSize) readable_->arm();
  }
  if (peer.output >= 0) {
    writable_.emplace(loop_, peer.output, FdWatch::Event::kWritable, [this] { drain(); });
    writable_->arm();  // what was kept for the next peer
  }
}

// ---- output

size_t CharStream::append(Bytes bytes, size_t limit) {
  const std::lock_guard lock(mutex_);
  const size_t length = std::min(bytes.size(), limit - std::min(limit, pending_.size()));
  const auto taken = bytes.first(length);
  pending_.insert(pending_.end(), taken.begin(), taken.end());
  if (length < bytes.size()) refused_ = true;
  if (!std::exchange(drain_scheduled_, true)) on_loop(&CharStream::drain);
  return length;
}

// Moves output on as far as it goes. Comes again after kPace as long as there is any, then sleeps until write().
void CharStream::drain() {
  if (taken_done_ == taken_.size()) take_pending();
  do {
    format();
  } while (send() && taken_done_ < taken_.size());

  if (!outgoing_.empty() && writable_) {
    writable_->arm();
    if (!stall_.running() && !stalled_) {
      progress_ = false;
      stall_.start(kStall);
    }
  }
  if (taken_done_ < taken_.size()) return;  // no room: the writable watch or the stall timer goes on

  const std::lock_guard lock(mutex_);
  drain_scheduled_ = !taken_.empty() || !pending_.empty();
  if (!drain_scheduled_) return;
  if (pending_.size() >= kPendingSize / 2) {
    on_loop(&CharStream::drain);
  } else {
    pace_.start(kPace);
  }
}

void CharStream::take_pending() {
  taken_.clear();
  taken_done_ = 0;
  bool refused = false;
  {
    const std::lock_guard lock(mutex_);
    std::swap(taken_, pending_);
    refused = std::exchange(refused_, false);
  }
  if (output_filter_) output_filter_(taken_);
  for (const Receiver* sees : {&observer_, &listener_}) {
    if (*sees && !taken_.empty()) (*sees)(taken_);
  }
  if (refused && on_writable_) on_writable_();
}

// Brings `taken_` to the log and into the outgoing ring: all of it when output may be lost, else what there is room
// for.
void CharStream::format() {
  formatted_.clear();
  const std::chrono::duration<double> since_start = std::chrono::steady_clock::now() - start_;
  const std::string stamp = timestamps_ ? fmt::format("[{:8.3f}] ", since_start.count()) : std::string();
  while (taken_done_ < taken_.size()) {
    const auto rest = std::span(taken_).subspan(taken_done_);
    const size_t used = formatted_.size() + kStampSize;
    if (!lossy() && outgoing_.room() <= used) break;
    size_t length = lossy() ? rest.size() : std::min(rest.size(), outgoing_.room() - used);
    if (timestamps_) {
      if (at_line_start_) formatted_ += stamp;
      const auto newline = std::find(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(length), std::byte{'\n'});
      length = std::min(length, static_cast<size_t>(newline - rest.begin()) + 1);
    }
    formatted_.append(reinterpret_cast<const char*>(rest.data()), length);
    at_line_start_ = rest[length - 1] == std::byte{'\n'};
    taken_done_ += length;
  }
  if (formatted_.empty()) return;
  if (log_) write_log();
  const uint64_t dropped = outgoing_.push_over(std::as_bytes(std::span(formatted_)));
  stats_.dropped += dropped;
  lost_ += dropped;
}

void CharStream::write_log() {
  for (std::string_view rest = formatted_; !rest.empty();) {
    const ssize_t written = ::write(log_.get(), rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return no_room("log", errno);
    rest.remove_prefix(static_cast<size_t>(written));
  }
}

// Once: where it comes and goes, each time would be a flood.
void CharStream::no_room(std::string_view of, int error) {
  ++stats_.errors;
  if (std::exchange(no_room_told_, true)) return;
  log_warn("console: its {} cannot be written and is lost: {}", of, errno_text(error));
  log_warn("  fix: {}", fix_for_growth(error, "make room there, or name another place"));
}

// Writes until the ring is empty (true) or the peer takes no more.
bool CharStream::send() {
  while (!outgoing_.empty()) {
    if (peer_.output < 0) return true;  // kept for the next peer
    const Bytes bytes = outgoing_.front();
    const ssize_t written = ::write(peer_.output, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) return false;
    if (written < 0) {
      output_failed(errno);
      continue;
    }
    outgoing_.pop(static_cast<size_t>(written));
    stats_.sent += static_cast<uint64_t>(written);
    progress_ = true;
    stalled_ = false;
  }
  if (peer_.output >= 0 && lost_ > 0) {
    log_warn("console: {} bytes of output were lost because nobody read them in time", std::exchange(lost_, 0));
  }
  return true;
}

// A full disk passes: what could not be written is lost, later output may fit. All else means that nobody is there.
void CharStream::output_failed(int error) {
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    no_room("output", error);
    stats_.dropped += outgoing_.size();
    outgoing_.pop(outgoing_.size());
    return;
  }
  ++stats_.errors;
  writable_.reset();
  peer_.output = -1;
  endpoint_->peer_lost();
}

void CharStream::on_stall() {
  if (outgoing_.empty()) return;
  // Slow is not stalled, and a peer that holds nothing up may take its time.
  if (!std::exchange(progress_, false) && taken_done_ < taken_.size()) {
    stalled_ = true;
    drain();
  } else {
    stall_.start(kStall);
  }
}

void CharStream::flush(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  drain();
  while (peer_.output >= 0 && !drained()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd ready{peer_.output, POLLOUT, 0};
    if (left.count() <= 0 || ::poll(&ready, 1, static_cast<int>(left.count())) == 0) break;
    drain();
  }
  if (drained()) return;
  if (peer_.output >= 0) log_warn("console: its reader did not take all of the output within {} ms", limit.count());
  // Nobody waits for the reader any more, but log and observer get the last words: what is taken, then what is pending.
  stalled_ = true;
  drain();
  drain();
}

bool CharStream::drained() {
  const std::lock_guard lock(mutex_);
  return outgoing_.empty() && taken_done_ == taken_.size() && pending_.empty();
}

// ---- input

// What one read of the host may bring stays free: its watch is armed already.
size_t CharStream::type(Bytes bytes) {
  const size_t taken = incoming_.push(bytes.first(std::min(bytes.size(), room_to_type())));
  deliver();
  return taken;
}

void CharStream::set_input(std::function<size_t(Bytes)> on_input) {
  on_input_ = std::move(on_input);
  if (on_input_) resume_input();
}

void CharStream::resume_input() {
  if (!resume_posted_.exchange(true)) on_loop(&CharStream::deliver);
}

void CharStream::read_input() {
  std::array<std::byte, kReadSize> buffer;
  const ssize_t length = ::read(peer_.input, buffer.data(), buffer.size());
  // A terminal says so to whoever is in the background: what is typed there is not ours.
  if (length < 0 && errno == EIO && ::isatty(peer_.input) != 0) {
    input_retry_.start(kInputRetry);
    return;
  }
  if (length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR)) {
    readable_.reset();
    peer_.input = -1;
    endpoint_->peer_lost();
    return;
  }
  const Bytes arrived = std::span(buffer).first(static_cast<size_t>(std::max<ssize_t>(length, 0)));
  // What the filter lets through is never more than what arrived, so it fits. It goes on at once: a command among the
  // keys takes effect after the keys before it.
  const auto to_guest = [this](Bytes bytes) {
    incoming_.push(bytes);
    deliver();
  };
  if (filter_) {
    filter_(arrived, to_guest);
  } else {
    to_guest(arrived);
  }
  if (readable_ && incoming_.room() >= kReadSize) readable_->arm();
}

void CharStream::deliver() {
  resume_posted_ = false;
  while (on_input_ && !incoming_.empty()) {
    const Bytes offered = incoming_.front();
    const size_t taken = std::min(on_input_(offered), offered.size());
    incoming_.pop(taken);
    if (taken < offered.size()) break;
  }
  if (readable_ && incoming_.room() >= kReadSize) readable_->arm();
  if (on_room_ && room_to_type() > 0) on_room_();
}

std::unique_ptr<CharStream> open_char_stream(EventLoop& loop, const CharConfig& config) {
  return std::make_unique<CharStream>(loop, open_char_endpoint(loop, config), config);
}

}  // namespace vmm
