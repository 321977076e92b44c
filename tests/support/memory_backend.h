// MemoryBackend: a disk in memory that does as a test says: fails, holds requests back, tells what it was asked.
#pragma once

#include <cerrno>
#include <coroutine>
#include <utility>
#include <vector>

#include "devices/backends/disk/block_backend.h"
#include "devices/backends/iovecs.h"

namespace vmm::test {

class MemoryBackend : public BlockBackend {
 public:
  enum class Kind { kRead, kWrite, kFlush, kDiscard, kWriteZeroes };
  struct Call {
    Kind kind;
    uint64_t offset = 0;
    uint64_t length = 0;
    Durability durability = Durability::kCached;
    Unmap unmap = Unmap::kForbidden;
  };

  explicit MemoryBackend(uint64_t bytes) : content(bytes) {}

  std::string describe() const override { return "memory"; }
  uint64_t size() const override { return reported_size != 0 ? reported_size : content.size(); }
  bool read_only() const override { return is_read_only; }
  BlockTopology topology() const override { return {.logical_block = 512, .physical_block = 4096}; }
  uint64_t refresh_size() override {
    content.resize(std::max<size_t>(content.size(), storage_size));
    return storage_size;
  }
  bool grow(uint64_t size) override {
    if (error == 0) content.resize(size);
    return error == 0;
  }

  Task<int> read(uint64_t offset, std::span<iovec> to) override {
    calls.push_back({.kind = Kind::kRead, .offset = offset, .length = total_size(to)});
    co_await Gate{*this};
    const size_t length = error == 0 ? total_size(to) : read_before_error;
    const auto stored = std::span(content).subspan(offset);
    scatter(stored.first(std::min(length, stored.size())), to);
    drop_front(to, length);
    co_return error;
  }
  Task<int> write(uint64_t offset, std::span<iovec> from, Durability durability) override {
    calls.push_back({.kind = Kind::kWrite, .offset = offset, .length = total_size(from), .durability = durability});
    co_await Gate{*this};
    if (error == 0) gather(from, std::span(content).subspan(offset, total_size(from)));
    co_return error;
  }
  Task<int> flush() override {
    calls.push_back({.kind = Kind::kFlush});
    co_await Gate{*this};
    co_return error;
  }
  Task<int> discard(uint64_t offset, uint64_t length) override {
    calls.push_back({.kind = Kind::kDiscard, .offset = offset, .length = length});
    co_await Gate{*this};
    co_return error;
  }
  Task<int> write_zeroes(uint64_t offset, uint64_t length, Unmap unmap) override {
    calls.push_back({.kind = Kind::kWriteZeroes, .offset = offset, .length = length, .unmap = unmap});
    co_await Gate{*this};
    if (error == 0) std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{0});
    co_return error;
  }

  // Lets the request that was held back as the n-th of those still held go on.
  void release(size_t n) {
    const std::coroutine_handle<> waiting = held[n];
    held.erase(held.begin() + static_cast<std::ptrdiff_t>(n));
    waiting.resume();
  }
  // Lets all go on, and holds no more.
  void release_all() {
    holding = false;
    for (const std::coroutine_handle<> waiting : std::exchange(held, {})) waiting.resume();
  }

  std::vector<std::byte> content;
  bool is_read_only = false;
  uint64_t reported_size = 0;  // for disks larger than the test's memory
  uint64_t storage_size = 0;   // what refresh_size() finds
  int error = 0;               // what requests answer
  size_t read_before_error = 0;
  bool holding = false;  // whether requests wait for release()
  std::vector<std::coroutine_handle<>> held;
  std::vector<Call> calls;

 private:
  struct Gate {
    MemoryBackend& backend;
    bool await_ready() const { return !backend.holding; }
    void await_suspend(std::coroutine_handle<> waiting) const { backend.held.push_back(waiting); }
    void await_resume() const {}
  };
};

}  // namespace vmm::test
