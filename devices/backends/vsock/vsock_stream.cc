// The ring between guest and socket: what is written at once, what is kept, and half closes; see vsock_stream.h.
#include "devices/backends/vsock/vsock_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace vmm {

VsockStream::VsockStream(EventLoop& loop, UniqueFd socket)
    : loop_(loop), socket_(std::move(socket)), readable_(loop, socket_.get(), FdWatch::Event::kReadable, [this] {
        const auto tell = on_event_;  // outlives us, should it destroy us
        if (tell) tell(Event::kInput);
      }) {}

std::optional<size_t> VsockStream::read(std::span<std::byte> to) {
  ssize_t length = 0;
  do length = ::recv(socket_.get(), to.data(), to.size(), MSG_DONTWAIT);
  while (length < 0 && errno == EINTR);
  if (length > 0) return static_cast<size_t>(length);
  if (length < 0 && errno == EAGAIN) {
    readable_.arm();
    return 0;
  }
  return std::nullopt;
}

bool VsockStream::closed() const {
  pollfd state = {.fd = socket_.get(), .events = 0, .revents = 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR)) != 0;
}

void VsockStream::write(std::span<const std::byte> bytes) {
  if (broken_) return;
  output_.insert(output_.end(), bytes.begin(), bytes.end());
  send_some();
}

void VsockStream::end_input() {
  readable_.disarm();
  ::shutdown(socket_.get(), SHUT_RD);
}

void VsockStream::end_output() {
  ending_ = true;
  send_some();
}

void VsockStream::flush() {
  send_some();
  const auto tell = on_event_;
  if (tell) tell(Event::kOutput);
}

void VsockStream::await_room() {
  if (!writable_) writable_.emplace(loop_, socket_.get(), FdWatch::Event::kWritable, [this] { flush(); });
  writable_->arm();
}

void VsockStream::send_some() {
  while (!broken_ && buffered() > 0) {
    const ssize_t length = ::send(socket_.get(), output_.data() + sent_, buffered(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (length >= 0) {
      sent_ += static_cast<size_t>(length);
    } else if (errno == EAGAIN) {
      await_room();
      break;
    } else if (errno != EINTR) {
      broken_ = true;
    }
  }
  if (broken_ || buffered() == 0) {
    output_.clear();
    sent_ = 0;
    if (ending_) ::shutdown(socket_.get(), SHUT_WR);
  } else if (sent_ >= kCapacity / 2) {
    output_.erase(output_.begin(), output_.begin() + static_cast<std::ptrdiff_t>(sent_));
    sent_ = 0;
  }
}

}  // namespace vmm
