// Taking frames apart as they arrive; see command_frames.h.
#include "vmm/machine/command_frames.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "firmware/guest/frames.h"
#include "vmm/core/check.h"

namespace vmm {

namespace {

bool is_output(char kind) { return kind == kOutputFrame || kind == kErrorFrame; }

}  // namespace

size_t CommandFrames::feed(Bytes bytes, Sink& sink) {
  size_t done = 0;
  for (;;) {
    const Bytes rest = bytes.subspan(done);
    if (header_size_ < kHeader) {
      if (rest.empty()) return done;
      done += take_header(rest);
      continue;
    }
    if (left_ > 0) {
      const size_t taken = take_payload(rest, sink);
      done += taken;
      if (taken == 0) return done;
      continue;
    }
    header_size_ = 0;
    if (!is_output(kind_)) sink.on_control(kind_, control_);
    control_.clear();
  }
}

void CommandFrames::reset() {
  header_size_ = 0;
  left_ = 0;
  control_.clear();
}

size_t CommandFrames::take_header(Bytes bytes) {
  const size_t length = std::min(bytes.size(), kHeader - header_size_);
  std::copy_n(bytes.begin(), length, header_.begin() + static_cast<std::ptrdiff_t>(header_size_));
  header_size_ += length;
  if (header_size_ == kHeader) {
    static_assert(std::endian::native == std::endian::little);
    kind_ = static_cast<char>(header_[0]);
    std::memcpy(&left_, header_.data() + 1, sizeof left_);
  }
  return length;
}

size_t CommandFrames::take_payload(Bytes bytes, Sink& sink) {
  const Bytes part = bytes.first(std::min<size_t>(bytes.size(), left_));
  size_t taken = part.size();
  if (is_output(kind_)) {
    taken = part.empty() ? 0 : sink.on_output(kind_ == kErrorFrame, part);
  } else {
    const Bytes kept = part.first(std::min(part.size(), kMaxControl - control_.size()));
    control_.insert(control_.end(), kept.begin(), kept.end());
  }
  left_ -= static_cast<uint32_t>(taken);
  return taken;
}

std::vector<std::byte> CommandFrames::frame(char kind, Bytes payload) {
  CHECK(payload.size() <= std::numeric_limits<uint32_t>::max());
  const auto length = static_cast<uint32_t>(payload.size());
  std::vector<std::byte> bytes(kHeader + payload.size());
  bytes[0] = static_cast<std::byte>(kind);
  std::memcpy(bytes.data() + 1, &length, sizeof length);
  std::ranges::copy(payload, bytes.begin() + kHeader);
  return bytes;
}

}  // namespace vmm
