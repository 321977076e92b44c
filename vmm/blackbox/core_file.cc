// Reads of a core file, plain or compressed, and where its data is; see core_file.h.
#include "vmm/blackbox/core_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "vmm/core/error.h"

namespace vmm {

CoreFile::CoreFile(const std::string& path) {
  const auto refuse = [&path](const std::string& why) {
    throw Error(fmt::format("cannot read vmcore '{}': {}", path, why),
                "name one that vmm, QEMU's dump-guest-memory or kdump wrote; crash and drgn read others");
  };
  file_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!file_) refuse(errno_text(errno));
  struct stat status {};
  if (::fstat(file_.get(), &status) < 0) refuse(errno_text(errno));
  if (!S_ISREG(status.st_mode)) refuse("it is no file");
  file_size_ = static_cast<uint64_t>(status.st_size);

  uint32_t magic = 0;
  if (!read_file(0, std::as_writable_bytes(std::span(&magic, 1))) || magic != SeekableZstdReader::kMagic) return;
  unpacked_ = SeekableZstdReader::open(
      file_size_, [this](uint64_t offset, std::span<std::byte> to) { return read_file(offset, to); });
  if (unpacked_) return;
  const std::string stem = path.ends_with(".zst") ? path.substr(0, path.size() - 4) : path + ".core";
  throw Error(fmt::format("cannot read vmcore '{}': it is compressed without the table that --vmcore F.zst has", path),
              fmt::format("zstd -d '{}' -o '{}'", path, stem));
}

bool CoreFile::read(uint64_t offset, std::span<std::byte> to) const {
  return unpacked_ ? unpacked_->read(offset, to) : read_file(offset, to);
}

bool CoreFile::read_file(uint64_t offset, std::span<std::byte> to) const {
  if (offset > file_size_ || to.size() > file_size_ - offset) return false;
  while (!to.empty()) {
    const ssize_t length = ::pread(file_.get(), to.data(), to.size(), static_cast<off_t>(offset));
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return false;
    offset += static_cast<uint64_t>(length);
    to = to.subspan(static_cast<size_t>(length));
  }
  return true;
}

std::optional<CoreFile::Extent> CoreFile::next_data(uint64_t offset) const {
  if (unpacked_) return unpacked_->next_data(offset);
  const off_t data = ::lseek(file_.get(), static_cast<off_t>(offset), SEEK_DATA);
  if (data < 0 && errno == ENXIO) return std::nullopt;
  const uint64_t start = data < 0 ? offset : static_cast<uint64_t>(data);
  const off_t hole = data < 0 ? -1 : ::lseek(file_.get(), data, SEEK_HOLE);
  return Extent{start, hole < 0 ? file_size_ : static_cast<uint64_t>(hole)};
}

}  // namespace vmm
