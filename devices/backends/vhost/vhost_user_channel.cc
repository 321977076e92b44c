// Requests sent, replies awaited in their order, and how a back-end is given up; see vhost_user_channel.h.
#include "devices/backends/vhost/vhost_user_channel.h"

#include <fmt/core.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "vmm/core/error.h"

namespace vmm {

namespace {

constexpr size_t kMaxFds = 8;  // VHOST_USER_SET_MEM_TABLE has at most so many regions

// Descriptors that came with a message. All are taken, so that those that nobody wants are closed.
std::vector<UniqueFd> fds_in(msghdr& header) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

std::string text_of(int error) {
  return error == EPIPE || error == ECONNRESET ? "it closed the connection" : errno_text(error);
}

}  // namespace

VhostUserChannel::VhostUserChannel(EventLoop& loop, UniqueFd socket, std::chrono::milliseconds patience, OnLost on_lost)
    : loop_(loop),
      socket_(std::move(socket)),
      patience_(patience),
      on_lost_(std::move(on_lost)),
      readable_(loop, socket_.get(), FdWatch::Event::kReadable, [this] { readable(); }),
      writable_(loop, socket_.get(), FdWatch::Event::kWritable, [this] { flush(); }),
      limit_(loop,
             [this] {
               give_up(fmt::format("it did not answer for {} s", static_cast<double>(patience_.count()) / 1000));
             }),
      self_(std::make_shared<VhostUserChannel*>(this)) {
  readable_.arm();
}

VhostUserChannel::~VhostUserChannel() {
  on_lost_ = {};
  give_up({});
}

void VhostUserChannel::give_up(const std::string& why) {
  if (!lost()) why_lost_ = why;
  if (socket_) ::shutdown(socket_.get(), SHUT_RDWR);  // the watches have duplicates of it
  socket_ = UniqueFd();
  readable_.disarm();
  writable_.disarm();
  limit_.cancel();
  output_.clear();
  for (Waiting* waiting : std::exchange(waiting_, {})) wake(*waiting);
  // Posted: whoever is told may destroy the channel, which may be sending for somebody just now.
  if (!on_lost_) return;
  loop_.post([weak = std::weak_ptr(self_), tell = std::exchange(on_lost_, {}), why = why_lost_] {
    if (weak.lock()) tell(why);
  });
}

void VhostUserChannel::wake(Waiting& waiting) {
  loop_.post([&waiting] { waiting.answered.notify(); });
}

// ---- requests

void VhostUserChannel::tell(uint32_t request, std::span<const std::byte> payload, std::span<const int> fds) {
  send({request, encode_vhost_user(request, 0, payload), {fds.begin(), fds.end()}});
}

void VhostUserChannel::tell_latest(uint32_t request, std::span<const std::byte> payload) {
  const auto unsent = std::ranges::find_if(
      output_, [request](const Message& message) { return message.sent == 0 && message.request == request; });
  if (unsent == output_.end()) return tell(request, payload);
  unsent->bytes = encode_vhost_user(request, 0, payload);
}

Task<std::optional<VhostUserReply>> VhostUserChannel::ask(uint32_t request, std::vector<std::byte> payload) {
  send({request, encode_vhost_user(request, 0, payload), {}});
  co_return co_await reply_to(request);
}

Task<bool> VhostUserChannel::confirm(uint32_t request, std::vector<std::byte> payload, std::vector<int> fds) {
  send({request, encode_vhost_user(request, acknowledges_ ? VhostUserHeader::kNeedReply : 0, payload), std::move(fds)});
  if (!acknowledges_) co_return !lost();
  const auto reply = co_await reply_to(request);
  co_return reply && reply->value<uint64_t>() == 0;
}

Task<std::optional<VhostUserReply>> VhostUserChannel::reply_to(uint32_t request) {
  if (lost()) co_return std::nullopt;
  Waiting waiting{.request = request, .reply = {}, .answered = {}};
  if (waiting_.empty()) limit_.start(patience_);
  waiting_.push_back(&waiting);
  co_await waiting.answered;
  co_return std::move(waiting.reply);
}

void VhostUserChannel::send(Message message) {
  if (lost()) return;
  output_.push_back(std::move(message));
  if (output_.size() == 1) flush();
}

void VhostUserChannel::flush() {
  while (!lost() && !output_.empty()) {
    Message& message = output_.front();
    iovec part{message.bytes.data() + message.sent, message.bytes.size() - message.sent};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxFds * sizeof(int))> control{};
    const size_t bytes = std::min(message.fds.size(), kMaxFds) * sizeof(int);
    if (bytes > 0) {
      header.msg_control = control.data();
      header.msg_controllen = CMSG_SPACE(bytes);
      cmsghdr* rights = CMSG_FIRSTHDR(&header);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(bytes);
      std::memcpy(CMSG_DATA(rights), message.fds.data(), bytes);
    }
    const ssize_t sent = ::sendmsg(socket_.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return writable_.arm();
    if (sent < 0) return give_up(text_of(errno));
    message.fds.clear();  // they went with the first byte
    message.sent += static_cast<size_t>(sent);
    if (message.sent == message.bytes.size()) output_.pop_front();
  }
}

// ---- replies

void VhostUserChannel::readable() {
  while (!lost()) {
    const std::span<std::byte> room = decoder_.room();
    iovec part{room.data(), room.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxFds * sizeof(int))> control{};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t length = ::recvmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno == EAGAIN) return readable_.arm();
    if (length < 0) return give_up(text_of(errno));
    for (UniqueFd& fd : fds_in(header)) {
      if (received_fd_) return give_up("it sent more descriptors than were asked for");
      received_fd_ = std::move(fd);
    }
    if (length == 0) return give_up(text_of(EPIPE));
    switch (decoder_.arrived(static_cast<size_t>(length))) {
      case VhostUserDecoder::Progress::kPartial:
        break;
      case VhostUserDecoder::Progress::kBad:
        return give_up("it sent what is no reply");
      case VhostUserDecoder::Progress::kReply:
        if (!take_reply()) return;
    }
  }
}

bool VhostUserChannel::take_reply() {
  VhostUserReply reply = decoder_.take();
  reply.fd = std::move(received_fd_);
  if (waiting_.empty() || waiting_.front()->request != reply.request) {
    give_up(fmt::format("it answered request {}, which was not asked", reply.request));
    return false;
  }
  if (reply.fd && reply.request != VHOST_USER_GET_INFLIGHT_FD) {
    give_up("it sent more descriptors than were asked for");
    return false;
  }
  Waiting& waiting = *waiting_.front();
  waiting_.pop_front();
  waiting_.empty() ? limit_.cancel() : limit_.start(patience_);
  waiting.reply = std::move(reply);
  wake(waiting);
  return true;
}

}  // namespace vmm
