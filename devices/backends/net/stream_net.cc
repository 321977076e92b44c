// Frames in a stream; see stream_net.h.
#include "devices/backends/net/stream_net.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "devices/backends/iovecs.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

namespace {

constexpr size_t kLength = sizeof(uint32_t);

}  // namespace

StreamNet::StreamNet(EventLoop& loop, std::unique_ptr<NetEndpoint> endpoint)
    : loop_(loop),
      endpoint_(std::move(endpoint)),
      input_(std::make_unique_for_overwrite<std::byte[]>(kInputSize)),
      self_(std::make_shared<StreamNet*>(this)) {
  endpoint_->start([this](UniqueFd peer) { set_peer(std::move(peer)); });
}

void StreamNet::attach(NetClient* client) {
  client_ = client;
  if (readable_) readable_->disarm();
}

void StreamNet::set_peer(UniqueFd peer) {
  peer_ = std::move(peer);
  ++stats_.peers;
  readable_.emplace(loop_, peer_.get(), FdWatch::Event::kReadable, [this] { readable(); });
  writable_.emplace(loop_, peer_.get(), FdWatch::Event::kWritable, [this] { flush(); });
  taken_ = arrived_ = 0;
  may_read_ = true;
  if (client_ == nullptr) return;
  client_->link_changed();
  client_->frames_arrived(0);
}

void StreamNet::lost(const std::string& why) {
  log_warn("{}: {}; the guest's link is down until there is one again", describe(), why);
  readable_.reset();
  writable_.reset();
  peer_ = UniqueFd();
  taken_ = arrived_ = 0;
  output_.clear();
  sent_ = 0;
  if (client_ != nullptr) {
    client_->link_changed();
    client_->room_made(0);  // a frame that waits is dropped
  }
  endpoint_->peer_lost();
}

// ---- from the peer

void StreamNet::readable() {
  may_read_ = true;
  if (client_ != nullptr) client_->frames_arrived(0);
}

std::optional<size_t> StreamNet::receive(size_t, std::span<const iovec> room) {
  while (peer_) {
    if (const auto length = take_frame(room)) return length;
    if (!peer_) break;
    if (!std::exchange(may_read_, false) || !read_more()) {
      if (readable_) readable_->arm();
      break;
    }
  }
  return std::nullopt;
}

// Nothing: the next frame has not arrived as a whole.
std::optional<size_t> StreamNet::take_frame(std::span<const iovec> room) {
  if (arrived_ - taken_ < kLength) return std::nullopt;
  uint32_t length = 0;
  std::memcpy(&length, input_.get() + taken_, kLength);
  length = ntohl(length);
  if (length > kMaxFrame - kNetHeader) {
    lost("the peer sent a frame that is too long");
    return std::nullopt;
  }
  if (arrived_ - taken_ - kLength < length) return std::nullopt;
  // Where a device keeps the header apart, the list is still one.
  constexpr std::byte kNoHeader[kNetHeader] = {};
  scatter(kNoHeader, room);
  std::vector<iovec> behind(room.begin(), room.end());
  scatter({input_.get() + taken_ + kLength, length}, drop_front(behind, kNetHeader));
  taken_ += kLength + length;
  return kNetHeader + length;
}

bool StreamNet::read_more() {
  std::memmove(input_.get(), input_.get() + taken_, arrived_ - taken_);
  arrived_ -= std::exchange(taken_, 0);
  ssize_t length = 0;
  do length = ::recv(peer_.get(), input_.get() + arrived_, kInputSize - arrived_, 0);
  while (length < 0 && errno == EINTR);
  if (length > 0) {
    arrived_ += static_cast<size_t>(length);
    return true;
  }
  if (length == 0) lost("the peer is gone");
  if (length < 0 && errno != EAGAIN) lost("the peer is gone: " + errno_text(errno));
  return false;
}

// ---- to the peer

bool StreamNet::send(size_t, std::span<const iovec> frame) {
  if (!peer_) {
    ++stats_.dropped;
    return true;
  }
  const size_t length = total_size(frame) - kNetHeader;
  if (output_.size() - sent_ + kLength + length > kOutputSize) {
    room_owed_ = true;
    writable_->arm();
    return false;
  }
  if (sent_ == output_.size()) {
    output_.clear();
    sent_ = 0;
  }
  const uint32_t number = htonl(static_cast<uint32_t>(length));
  const size_t at = output_.size();
  output_.resize(at + kLength + length);
  std::memcpy(output_.data() + at, &number, kLength);
  std::vector<iovec> content(frame.begin(), frame.end());
  gather(drop_front(content, kNetHeader), std::span(output_).subspan(at + kLength));
  schedule_flush();
  return true;
}

void StreamNet::schedule_flush() {
  if (std::exchange(flush_scheduled_, true)) return;
  loop_.at_end_of_turn([weak = std::weak_ptr(self_)] {
    const auto self = weak.lock();
    if (!self) return;
    (*self)->flush_scheduled_ = false;
    (*self)->flush();
  });
}

void StreamNet::flush() {
  while (peer_ && sent_ < output_.size()) {
    const ssize_t length = ::send(peer_.get(), output_.data() + sent_, output_.size() - sent_, MSG_NOSIGNAL);
    if (length >= 0) {
      sent_ += static_cast<size_t>(length);
    } else if (errno == EAGAIN) {
      writable_->arm();
      break;
    } else if (errno != EINTR) {
      return lost("the peer is gone: " + errno_text(errno));
    }
  }
  if (sent_ > kOutputSize / 2) {
    output_.erase(output_.begin(), output_.begin() + static_cast<std::ptrdiff_t>(sent_));
    sent_ = 0;
  }
  if (output_.size() - sent_ <= kOutputSize / 2 && std::exchange(room_owed_, false) && client_ != nullptr) {
    client_->room_made(0);
  }
}

}  // namespace vmm
