// Scatter lists: their sizes, and parts of them; see iovecs.h.
#include "devices/backends/iovecs.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <utility>

namespace vmm {

size_t total_size(std::span<const iovec> list) {
  size_t sum = 0;
  for (const iovec& buffer : list) sum += buffer.iov_len;
  return sum;
}

std::span<iovec> drop_front(std::span<iovec> list, size_t bytes) {
  while (!list.empty() && bytes >= list.front().iov_len) {
    bytes -= std::exchange(list.front().iov_len, 0);
    list = list.subspan(1);
  }
  if (!list.empty()) {
    list.front().iov_base = static_cast<std::byte*>(list.front().iov_base) + bytes;
    list.front().iov_len -= bytes;
  }
  return list;
}

std::vector<iovec> copy_front(std::span<const iovec> list, size_t bytes) { return copy_range(list, 0, bytes); }

std::vector<iovec> copy_range(std::span<const iovec> list, size_t offset, size_t bytes) {
  std::vector<iovec> range;
  for (const iovec& buffer : list) {
    if (bytes == 0 || range.size() == IOV_MAX) break;
    const size_t skipped = std::min(offset, buffer.iov_len);
    offset -= skipped;
    if (skipped == buffer.iov_len) continue;
    range.push_back({static_cast<std::byte*>(buffer.iov_base) + skipped, std::min(buffer.iov_len - skipped, bytes)});
    bytes -= range.back().iov_len;
  }
  return range;
}

void gather(std::span<const iovec> from, std::span<std::byte> to) {
  for (const iovec& buffer : from) {
    if (to.empty()) return;
    const size_t length = std::min(buffer.iov_len, to.size());
    if (length > 0) std::memcpy(to.data(), buffer.iov_base, length);
    to = to.subspan(length);
  }
}

void scatter(std::span<const std::byte> from, std::span<const iovec> to) {
  for (const iovec& buffer : to) {
    if (from.empty()) return;
    const size_t length = std::min(buffer.iov_len, from.size());
    if (length > 0) std::memcpy(buffer.iov_base, from.data(), length);
    from = from.subspan(length);
  }
}

}  // namespace vmm
