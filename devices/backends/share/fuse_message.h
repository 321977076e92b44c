// FuseMessage: one request of the FUSE protocol (<linux/fuse.h>), and the room for its answer.
//
// Both lie in guest memory, as scatter lists. Header, arguments and names are copied out once, bounded, and only the
// copies are looked at; what is read from a file and written to one goes between it and the guest's buffers directly.
// Everything taken is checked against what is there: a request that is too short is Refused with EINVAL.
#pragma once

#include <linux/fuse.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace vmm {

// Thrown where a request cannot be done, and caught where it is answered: never leaves the FUSE server.
struct Refused {
  int error;  // errno
};

// A system call's result, or Refused with its errno.
template <typename T>
T must(T result);

// A thread that has file attributes of its own (unshare(2)) makes files with these bits off. A directory with a default
// ACL, for which they do not count, is the host kernel's affair.
class Umask {
 public:
  explicit Umask(mode_t mask) : before_(::umask(mask & 0777)) {}
  Umask(const Umask&) = delete;
  Umask& operator=(const Umask&) = delete;
  ~Umask() { ::umask(before_); }

 private:
  mode_t before_;
};

class FuseMessage {
 public:
  // More than any request has but for the data of FUSE_WRITE: names, and a symlink's target or an attribute's value.
  static constexpr size_t kMaxArguments = 72 * 1024;

  FuseMessage(std::span<const iovec> request, std::span<const iovec> reply);

  // Whether there is a header that tells the truth about the length.
  bool well_formed() const { return well_formed_; }
  const fuse_in_header& header() const { return header_; }

  // The next part of the request, as a structure; `at_least` bytes of it, the rest reads as zeroes.
  template <typename T>
  T take(size_t at_least = sizeof(T)) {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    take_bytes({reinterpret_cast<std::byte*>(&value), sizeof value}, at_least);
    return value;
  }
  // A text that ends with a zero byte.
  std::string take_text();
  // As many bytes as the request says of itself.
  std::vector<std::byte> take_rest(size_t length);
  // A file's name: one component, and none that leads elsewhere.
  std::string take_name();

  // The bytes behind the arguments of FUSE_WRITE: how many there are, and those from `offset` on, as a list for one
  // system call.
  size_t data_size() const;
  std::vector<iovec> data(size_t offset, size_t length) const;

  // How long the answer's body may be. What is put into it is sent by finish().
  size_t room() const;
  template <typename T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    put_bytes(std::as_bytes(std::span(&value, 1)));
  }
  void put_bytes(std::span<const std::byte> bytes) { body_.insert(body_.end(), bytes.begin(), bytes.end()); }
  size_t body_size() const { return body_.size(); }
  // A body that is written to its place directly: that place, and how much of it was used.
  std::vector<iovec> place(size_t offset, size_t length) const;
  void set_placed(size_t length) { placed_ = length; }

  // Writes the answer; returns its length. Nothing where there is no room for one.
  size_t finish(int error);

 private:
  void take_bytes(std::span<std::byte> to, size_t at_least);

  std::span<const iovec> request_;
  std::span<const iovec> reply_;
  fuse_in_header header_{};
  bool well_formed_ = false;
  std::vector<std::byte> arguments_;  // what was copied of the request
  size_t taken_ = 0;                  // bytes taken so far
  std::vector<std::byte> body_;
  size_t placed_ = 0;
};

template <typename T>
T must(T result) {
  if (result < 0) throw Refused{errno};
  return result;
}

}  // namespace vmm
