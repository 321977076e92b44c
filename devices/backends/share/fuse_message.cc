// Taking a request apart and putting an answer together; see fuse_message.h.
#include "devices/backends/share/fuse_message.h"

#include <algorithm>
#include <cerrno>
#include <climits>

#include "devices/backends/iovecs.h"

namespace vmm {

FuseMessage::FuseMessage(std::span<const iovec> request, std::span<const iovec> reply)
    : request_(request), reply_(reply) {
  const size_t size = total_size(request_);
  if (size < sizeof header_) return;
  gather(request_, std::as_writable_bytes(std::span(&header_, 1)));
  if (header_.len != size) return;
  well_formed_ = true;
  const size_t wanted = header_.opcode == FUSE_WRITE ? sizeof header_ + sizeof(fuse_write_in) : kMaxArguments;
  arguments_.resize(std::min(size, wanted));
  gather(request_, arguments_);
  taken_ = sizeof header_;
}

void FuseMessage::take_bytes(std::span<std::byte> to, size_t at_least) {
  const size_t length = std::min(to.size(), arguments_.size() - taken_);
  if (length < at_least) throw Refused{EINVAL};
  std::memcpy(to.data(), arguments_.data() + taken_, length);
  taken_ += length;
}

std::string FuseMessage::take_text() {
  const auto from = arguments_.begin() + static_cast<std::ptrdiff_t>(taken_);
  const auto end = std::find(from, arguments_.end(), std::byte{0});
  if (end == arguments_.end()) throw Refused{arguments_.size() == kMaxArguments ? ENAMETOOLONG : EINVAL};
  std::string text(static_cast<size_t>(end - from), '\0');
  std::transform(from, end, text.begin(), [](std::byte value) { return static_cast<char>(value); });
  taken_ += text.size() + 1;
  return text;
}

std::vector<std::byte> FuseMessage::take_rest(size_t length) {
  if (length > arguments_.size() - taken_) throw Refused{EINVAL};
  std::vector<std::byte> bytes(length);
  take_bytes(bytes, length);
  return bytes;
}

std::string FuseMessage::take_name() {
  std::string name = take_text();
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) throw Refused{EINVAL};
  if (name.size() > NAME_MAX) throw Refused{ENAMETOOLONG};
  return name;
}

size_t FuseMessage::data_size() const { return total_size(request_) - arguments_.size(); }

std::vector<iovec> FuseMessage::data(size_t offset, size_t length) const {
  return copy_range(request_, arguments_.size() + offset, length);
}

size_t FuseMessage::room() const {
  const size_t size = total_size(reply_);
  return size - std::min(size, sizeof(fuse_out_header));
}

std::vector<iovec> FuseMessage::place(size_t offset, size_t length) const {
  return copy_range(reply_, sizeof(fuse_out_header) + offset, length);
}

size_t FuseMessage::finish(int error) {
  if (total_size(reply_) < sizeof(fuse_out_header)) return 0;
  if (error != 0) {
    body_.clear();
    placed_ = 0;
  }
  const size_t length = sizeof(fuse_out_header) + body_.size() + placed_;
  const fuse_out_header header{.len = static_cast<uint32_t>(length), .error = -error, .unique = header_.unique};
  scatter(std::as_bytes(std::span(&header, 1)), reply_);
  // The list of a body that was put together here may be longer than one system call takes.
  for (size_t done = 0; done < body_.size();) {
    const auto part = place(done, body_.size() - done);
    const size_t size = total_size(part);
    if (size == 0) return 0;  // no room: whoever put it there did not look
    scatter(std::span(body_).subspan(done, size), part);
    done += size;
  }
  return length;
}

}  // namespace vmm
