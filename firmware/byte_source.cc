// Bytes from memory and from files; see byte_source.h.
#include "firmware/byte_source.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include "vmm/core/error.h"

namespace vmm {
namespace {

const char* file_type(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode)) return "a character device";
  if (S_ISBLK(mode)) return "a block device";
  return "of an unknown kind";
}

}  // namespace

std::string ByteSource::read_text(uint64_t offset, size_t length) const {
  std::string text(length, '\0');
  text.resize(read_at(offset, std::as_writable_bytes(std::span(text))));
  return text;
}

void ByteSource::read_into(uint64_t offset, const GuestSlice& to) const {
  const iovec target = to.iov();
  const std::span<std::byte> bytes(static_cast<std::byte*>(target.iov_base), target.iov_len);
  if (read_at(offset, bytes) == bytes.size()) return;
  throw Error("the file became shorter while it was loaded", "start again when whatever writes it is done");
}

size_t MemorySource::read_at(uint64_t offset, std::span<std::byte> to) const {
  if (offset >= bytes_.size()) return 0;
  const auto from = bytes_.subspan(offset, std::min(to.size(), bytes_.size() - offset));
  std::copy(from.begin(), from.end(), to.begin());
  return from.size();
}

FileSource::FileSource(int fd, std::string name) : fd_(fd), name_(std::move(name)) {
  struct stat status {};
  if (::fstat(fd_, &status) != 0) throw Error(fmt::format("cannot read '{}': {}", name_, errno_text(errno)));
  if (!S_ISREG(status.st_mode)) {
    throw Error(fmt::format("'{}' is {}, not a regular file", name_, file_type(status.st_mode)), "pass a regular file");
  }
  size_ = static_cast<uint64_t>(status.st_size);
}

size_t FileSource::read_at(uint64_t offset, std::span<std::byte> to) const {
  size_t done = 0;
  while (done < to.size()) {
    const uint64_t position = offset + done;
    if (position > static_cast<uint64_t>(std::numeric_limits<off_t>::max())) break;
    const ssize_t count = ::pread(fd_, to.data() + done, to.size() - done, static_cast<off_t>(position));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw Error(fmt::format("cannot read '{}': {}", name_, errno_text(errno)));
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  return done;
}

}  // namespace vmm
