// CoreFile: the bytes of a vmcore, from a file as it is or from one that is compressed (seekable_zstd.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "vmm/blackbox/seekable_zstd.h"
#include "vmm/core/fd.h"

namespace vmm {

class CoreFile {
 public:
  // Throws Error when there is no such file, or it is compressed in a way that cannot be read piece by piece.
  explicit CoreFile(const std::string& path);
  CoreFile(const CoreFile&) = delete;
  CoreFile& operator=(const CoreFile&) = delete;

  uint64_t size() const { return unpacked_ ? unpacked_->size() : file_size_; }
  // False when not all of it is there.
  bool read(uint64_t offset, std::span<std::byte> to) const;
  // The next stretch from `offset` on that is no hole; empty when there is nothing but a hole up to the end. Where the
  // file system does not tell, all is data.
  using Extent = SeekableZstdReader::Extent;
  std::optional<Extent> next_data(uint64_t offset) const;

 private:
  bool read_file(uint64_t offset, std::span<std::byte> to) const;

  UniqueFd file_;
  uint64_t file_size_ = 0;
  std::unique_ptr<SeekableZstdReader> unpacked_;
};

}  // namespace vmm
