// Records of a capture; see pcap.h.
#include "devices/backends/net/pcap.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "devices/backends/iovecs.h"
#include "vmm/core/error.h"
#include "vmm/core/log.h"

namespace vmm {

namespace {

struct FileHeader {
  uint32_t magic = 0xa1b23c4d;  // in our byte order, times in nanoseconds
  uint16_t major = 2;
  uint16_t minor = 4;
  uint32_t reserved[2] = {};
  uint32_t longest = kMaxFrame;
  uint32_t link_type = 1;  // LINKTYPE_ETHERNET
};

struct RecordHeader {
  uint32_t seconds;
  uint32_t nanoseconds;
  uint32_t captured;
  uint32_t length;
};

UniqueFd open_capture(const std::string& path) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  UniqueFd file(::open(path.c_str(), kFlags, 0600));
  if (file) return file;
  throw Error(fmt::format("cannot write captured frames to '{}': {}", path, errno_text(errno)),
              errno == ENXIO ? "start the reader of this FIFO first" : "");
}

}  // namespace

Pcap::Pcap(EventLoop& loop, std::unique_ptr<NetBackend> network, const std::string& path)
    : loop_(loop),
      network_(std::move(network)),
      path_(path),
      file_(open_capture(path)),
      self_(std::make_shared<Pcap*>(this)) {
  const FileHeader header;
  const auto bytes = std::as_bytes(std::span(&header, 1));
  pending_.assign(bytes.begin(), bytes.end());
  flush();
}

Pcap::~Pcap() { flush(); }

std::optional<size_t> Pcap::receive(size_t queue, std::span<const iovec> room) {
  const auto length = network_->receive(queue, room);
  if (length) record(room, *length);
  return length;
}

bool Pcap::send(size_t queue, std::span<const iovec> frame) {
  if (!network_->send(queue, frame)) return false;
  record(frame, total_size(frame));
  return true;
}

void Pcap::record(std::span<const iovec> frame, size_t length) {
  if (!file_ || length < kNetHeader) return;
  const size_t size = std::min(length, kMaxFrame) - kNetHeader;
  if (pending_.size() + sizeof(RecordHeader) + size > kPending) {
    ++dropped_;
    return;
  }
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  const RecordHeader header{.seconds = static_cast<uint32_t>(seconds.count()),
                            .nanoseconds = static_cast<uint32_t>(std::chrono::nanoseconds(now - seconds).count()),
                            .captured = static_cast<uint32_t>(size),
                            .length = static_cast<uint32_t>(size)};
  const auto bytes = std::as_bytes(std::span(&header, 1));
  pending_.insert(pending_.end(), bytes.begin(), bytes.end());
  const size_t at = pending_.size();
  pending_.resize(at + size);
  std::vector<iovec> content(frame.begin(), frame.end());
  gather(drop_front(content, kNetHeader), std::span(pending_).subspan(at));
  if (std::exchange(flush_scheduled_, true)) return;
  loop_.at_end_of_turn([weak = std::weak_ptr(self_)] {
    const auto self = weak.lock();
    if (!self) return;
    (*self)->flush_scheduled_ = false;
    (*self)->flush();
  });
}

// What a FIFO does not take now goes with the next frames.
void Pcap::flush() {
  size_t done = 0;
  while (file_ && done < pending_.size()) {
    const ssize_t length = ::write(file_.get(), pending_.data() + done, pending_.size() - done);
    if (length >= 0) {
      done += static_cast<size_t>(length);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      log_warn("no more frames are written to '{}': {}", path_, errno_text(errno));
      file_ = UniqueFd();
      pending_.clear();
      return;
    }
  }
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(done));
}

}  // namespace vmm
