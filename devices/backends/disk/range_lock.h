// RangeLock: lets coroutines of one loop take turns on overlapping ranges of numbers (bytes, blocks).
//
//   const auto turn = co_await lock.acquire(first, last);   // until no earlier holder or waiter overlaps
//
// Granted in order of arrival, so nobody starves. Not for use between threads.
#pragma once

#include <coroutine>
#include <cstdint>
#include <list>
#include <utility>

namespace vmm {

class RangeLock {
  struct Entry {
    uint64_t first;
    uint64_t last;
    std::coroutine_handle<> waiting;
  };
  using Place = std::list<Entry>::iterator;

 public:
  // Holds the range until it goes.
  class Turn {
   public:
    Turn(RangeLock& lock, Place place) : lock_(&lock), place_(place) {}
    Turn(Turn&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)), place_(other.place_) {}
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (lock_ != nullptr) lock_->release(place_);
    }

   private:
    RangeLock* lock_;
    Place place_;
  };

  class Acquire {
   public:
    Acquire(RangeLock& lock, Place place) : lock_(lock), place_(place) {}
    bool await_ready() const { return !lock_.blocked(place_); }
    void await_suspend(std::coroutine_handle<> waiting) const { place_->waiting = waiting; }
    Turn await_resume() const { return {lock_, place_}; }

   private:
    RangeLock& lock_;
    Place place_;
  };

  // Both ends belong to the range. The answer must be awaited.
  [[nodiscard]] Acquire acquire(uint64_t first, uint64_t last) {
    return {*this, entries_.insert(entries_.end(), Entry{first, last, nullptr})};
  }

 private:
  bool blocked(Place place) const {
    for (auto earlier = entries_.begin(); earlier != std::list<Entry>::const_iterator(place); ++earlier) {
      if (earlier->first <= place->last && place->first <= earlier->last) return true;
    }
    return false;
  }

  void release(Place place) {
    entries_.erase(place);
    // Whoever goes on may release or acquire: look from the start after each.
    for (auto next = entries_.begin(); next != entries_.end();) {
      if (next->waiting && !blocked(next)) {
        std::exchange(next->waiting, nullptr).resume();
        next = entries_.begin();
      } else {
        ++next;
      }
    }
  }

  std::list<Entry> entries_;  // in order of arrival
};

}  // namespace vmm
