// CharRing: a byte queue of fixed capacity. Its memory is touched only as far as it was ever filled.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>

namespace vmm {

class CharRing {
 public:
  explicit CharRing(size_t capacity) : capacity_(capacity), data_(new std::byte[capacity]) {}

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  size_t room() const { return capacity_ - size_; }

  // Appends what fits; returns how much that was.
  size_t push(std::span<const std::byte> bytes) {
    const size_t length = std::min(bytes.size(), room());
    for (size_t done = 0; done < length;) {
      const size_t end = (begin_ + size_) % capacity_;
      const size_t part = std::min(length - done, capacity_ - end);
      std::memcpy(data_.get() + end, bytes.data() + done, part);
      size_ += part;
      done += part;
    }
    return length;
  }

  // Appends all of it, at the cost of the oldest bytes; returns how many were lost.
  size_t push_over(std::span<const std::byte> bytes) {
    const size_t skipped = bytes.size() - std::min(bytes.size(), capacity_);
    bytes = bytes.subspan(skipped);
    const size_t dropped = bytes.size() - std::min(bytes.size(), room());
    pop(dropped);
    push(bytes);
    return skipped + dropped;
  }

  // The oldest bytes, as many as lie in one piece; empty only when the queue is.
  std::span<const std::byte> front() const { return {data_.get() + begin_, std::min(size_, capacity_ - begin_)}; }
  void pop(size_t length) {
    size_ -= length;
    begin_ = size_ == 0 ? 0 : (begin_ + length) % capacity_;
  }

 private:
  size_t capacity_;
  std::unique_ptr<std::byte[]> data_;
  size_t begin_ = 0;
  size_t size_ = 0;
};

}  // namespace vmm
