// ByteSource: the bytes of a kernel or an initrd, wherever they come from.
//
// Parsers and loaders read through it and nothing else, so that tests and fuzz targets can feed them bytes. It is
// never mapped (a file that shrinks would kill us with SIGBUS) and never read whole (its size is not ours to trust).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>

#include "vmm/core/guest_memory.h"

namespace vmm {

class ByteSource {
 public:
  virtual ~ByteSource() = default;

  virtual uint64_t size() const = 0;
  // Copies what is there from `offset` on; returns how many bytes, fewer than asked for only at the end.
  virtual size_t read_at(uint64_t offset, std::span<std::byte> to) const = 0;

  template <typename T>
  std::optional<T> read_value(uint64_t offset) const {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    if (read_at(offset, std::as_writable_bytes(std::span(&value, 1))) != sizeof value) return std::nullopt;
    return value;
  }
  // At most `length` bytes as text; `length` is the caller's own bound.
  std::string read_text(uint64_t offset, size_t length) const;
  // Fills `to` from `offset` on. Throws Error when the source ends before: it was longer when it was looked at.
  void read_into(uint64_t offset, const GuestSlice& to) const;
};

// Bytes that are in memory already, and stay there.
class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::span<const std::byte> bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  size_t read_at(uint64_t offset, std::span<std::byte> to) const override;

 private:
  std::span<const std::byte> bytes_;
};

// An open file, which the owner keeps open. Throws Error when it is not a regular file; `name` is for messages.
class FileSource final : public ByteSource {
 public:
  FileSource(int fd, std::string name);
  uint64_t size() const override { return size_; }
  size_t read_at(uint64_t offset, std::span<std::byte> to) const override;

 private:
  int fd_;
  std::string name_;
  uint64_t size_;
};

}  // namespace vmm
