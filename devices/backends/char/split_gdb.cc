// A gdb's socket beside a console: connecting, entering the kernel, and passing bytes both ways; see split_gdb.h.
#include "devices/backends/char/split_gdb.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <span>
#include <utility>

namespace vmm {

namespace {

constexpr size_t kReadSize = 4096;
constexpr std::chrono::milliseconds kRetry{10};

}  // namespace

SplitGdb::SplitGdb(EventLoop& loop, CharStream& console, std::unique_ptr<CharEndpoint> endpoint)
    : loop_(loop),
      console_(console),
      endpoint_(std::move(endpoint)),
      silence_(loop,
               [this] {
                 silent_ = true;
                 console_.look_at_output();
               }),
      entering_(loop, [this] { pass_on(); }),
      retry_(loop, [this] { pass_on(); }) {
  console_.set_output_filter([this](std::vector<std::byte>& output) { print(output); });
  endpoint_->start([this](CharPeer peer) { set_peer(peer); });
}

SplitGdb::~SplitGdb() { console_.set_output_filter(nullptr); }

void SplitGdb::set_on_enter(std::function<void()> enter) {
  on_enter_ = std::move(enter);
  splitter_.set_gdb(peer_.output >= 0);
}

void SplitGdb::set_peer(CharPeer peer) {
  readable_.reset();
  writable_.reset();
  peer_ = peer;
  to_gdb_.clear();
  to_guest_.clear();
  entering_.cancel();
  retry_.cancel();
  splitter_.set_gdb(peer.output >= 0);
  if (peer.output < 0) return;
  readable_.emplace(loop_, peer.input, FdWatch::Event::kReadable, [this] { receive(); });
  writable_.emplace(loop_, peer.output, FdWatch::Event::kWritable, [this] { send_some(); });
  readable_->arm();
}

// It is replaced by nobody, in set_peer().
void SplitGdb::lose_peer() { endpoint_->peer_lost(); }

// ---- from the guest

void SplitGdb::print(std::vector<std::byte>& output) {
  if (std::exchange(silent_, false) && output.empty()) return splitter_.flush(output);
  to_gdb_ += splitter_.split(output);
  splitter_.holds() ? silence_.start(kSilence) : silence_.cancel();
  if (peer_.output < 0) {
    to_gdb_.clear();
  } else if (to_gdb_.size() > kMostWaiting) {
    lose_peer();
  } else if (!to_gdb_.empty()) {
    writable_->arm();
  }
}

void SplitGdb::send_some() {
  while (!to_gdb_.empty()) {
    const ssize_t length = ::write(peer_.output, to_gdb_.data(), to_gdb_.size());
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno != EAGAIN) return lose_peer();
    if (length < 0) break;
    to_gdb_.erase(0, static_cast<size_t>(length));
  }
  if (!to_gdb_.empty()) writable_->arm();
}

// ---- from gdb

void SplitGdb::receive() {
  std::array<std::byte, kReadSize> bytes;
  const ssize_t length = ::read(peer_.input, bytes.data(), bytes.size());
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return readable_->arm();
  if (length <= 0) return lose_peer();
  splitter_.from_gdb(
      std::span(bytes).first(static_cast<size_t>(length)),
      {.to_guest = [this](const std::string& text) { to_guest_ += text; }, .enter = [this] { enter(); }});
  pass_on();
}

void SplitGdb::enter() {
  pass_on();
  if (on_enter_) on_enter_();
  entering_.start(kEntering);
}

void SplitGdb::pass_on() {
  if (entering_.running()) return;
  to_guest_.erase(0, console_.type(std::as_bytes(std::span(to_guest_))));
  if (!to_guest_.empty()) retry_.start(kRetry);
  if (readable_ && to_guest_.size() < kMostWaiting) readable_->arm();
}

}  // namespace vmm
