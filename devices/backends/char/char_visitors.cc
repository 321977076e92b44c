// Visitors of a console: who is admitted, what each has still to be shown, and what they type; see char_visitors.h.
#include "devices/backends/char/char_visitors.h"

#include <fmt/core.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace vmm {

namespace {

constexpr size_t kReadSize = 4096;

}  // namespace

CharVisitors::CharVisitors(EventLoop& loop, CharStream& console) : loop_(loop), console_(console) {
  console_.set_listener([this](std::span<const std::byte> output) { show(output); });
  console_.set_on_room_to_type([this] {
    for (Visitor& visitor : visitors_) listen_to(visitor);
  });
}

CharVisitors::~CharVisitors() {
  console_.set_listener(nullptr);
  console_.set_on_room_to_type(nullptr);
  for (Visitor& visitor : visitors_) send_some(visitor);
}

void CharVisitors::admit(UniqueFd socket, std::string_view typed) {
  if (visitors_.size() == kMost) return;
  const auto visitor = visitors_.emplace(visitors_.end(), std::move(socket));
  visitor->typed = typed;
  visitor->readable.emplace(loop_, visitor->socket.get(), FdWatch::Event::kReadable,
                            [this, visitor] { receive(visitor); });
  visitor->writable.emplace(loop_, visitor->socket.get(), FdWatch::Event::kWritable,
                            [this, visitor] { serve(visitor); });
  listen_to(*visitor);
}

// Called again by what it does: the guest takes what is typed, and there is room.
void CharVisitors::listen_to(Visitor& visitor) {
  if (const std::string typed = std::exchange(visitor.typed, {}); !typed.empty()) {
    visitor.typed = typed.substr(console_.type(std::as_bytes(std::span(typed))));
  }
  if (visitor.typed.empty() && console_.room_to_type() > 0) visitor.readable->arm();
}

void CharVisitors::receive(Visitors::iterator visitor) {
  std::array<char, kReadSize> bytes;
  const size_t room = std::min(bytes.size(), console_.room_to_type());
  if (room == 0) return;  // there will be, and it is told
  const ssize_t length = ::recv(visitor->socket.get(), bytes.data(), room, MSG_DONTWAIT);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return visitor->readable->arm();
  if (length <= 0) {
    visitors_.erase(visitor);
    return;
  }
  visitor->typed.assign(bytes.data(), static_cast<size_t>(length));
  listen_to(*visitor);
}

void CharVisitors::show(std::span<const std::byte> output) {
  for (Visitor& visitor : visitors_) {
    visitor.lost += visitor.output.push_over(output);
    visitor.writable->arm();
  }
}

// Who is gone is found out by its readable watch too, but that rests while nobody takes what it types.
void CharVisitors::serve(Visitors::iterator visitor) {
  if (!send_some(*visitor)) {
    visitors_.erase(visitor);
  } else if (!visitor->notice.empty() || !visitor->output.empty()) {
    visitor->writable->arm();
  }
}

// False when the visitor is gone.
bool CharVisitors::send_some(Visitor& visitor) {
  for (;;) {
    if (visitor.notice.empty() && visitor.lost > 0) {
      visitor.notice = fmt::format("\r\n[vmm: {} bytes are missing here: they were not read in time]\r\n",
                                   std::exchange(visitor.lost, 0));
    }
    const bool notice = !visitor.notice.empty();
    const auto bytes = notice ? std::as_bytes(std::span(visitor.notice)) : visitor.output.front();
    if (bytes.empty()) return true;
    const ssize_t length = ::send(visitor.socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return errno == EAGAIN;
    const auto sent = static_cast<size_t>(length);
    notice ? void(visitor.notice.erase(0, sent)) : visitor.output.pop(sent);
  }
}

}  // namespace vmm
