// GuestMemory: the guest's RAM, and the only door to it.
//
// RAM is a few regions of guest-physical address space, each backed lazily by anonymous memory of the host: private, or
// in one file without a name (memfd) that other processes may map too. Whatever a guest says about addresses is checked
// here, once: slice() answers with a GuestSlice that lies wholly inside one
// region, or with nothing. Contents are only ever copied in or out, because another vCPU may be writing at the same
// time; no reference into guest memory leaves this file. Addresses that are not RAM (device registers, holes) are
// never resolved, so a device cannot be made to drive another one.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "vmm/core/check.h"
#include "vmm/core/fd.h"

namespace vmm {

// A guest-physical address.
struct GuestAddress {
  uint64_t value = 0;

  // The address `bytes` further on; empty when it would wrap around 2^64.
  std::optional<GuestAddress> plus(uint64_t bytes) const {
    uint64_t sum = 0;
    if (__builtin_add_overflow(value, bytes, &sum)) return std::nullopt;
    return GuestAddress{sum};
  }
  auto operator<=>(const GuestAddress&) const = default;
};

// A checked range of guest memory. Valid as long as the GuestMemory it came from.
class GuestSlice {
 public:
  GuestSlice() = default;
  GuestSlice(std::byte* data, size_t size) : data_(data), size_(size) {}

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  // The part from `offset` on, `length` bytes long; both are clamped to what is there.
  GuestSlice sub(size_t offset, size_t length) const {
    offset = offset < size_ ? offset : size_;
    return {data_ + offset, length < size_ - offset ? length : size_ - offset};
  }

  // Copies as many bytes as both sides have; returns how many.
  size_t copy_out(std::span<std::byte> to) const;
  size_t copy_in(std::span<const std::byte> from) const;
  void fill(std::byte value) const;
  // Gives the host back what the whole pages in it cost; they read as zeroes then, and cost again when written. Pages
  // are the host's: where those are larger, less is given back. Returns how many bytes.
  size_t discard() const;
  // Advises the host to take the whole pages in it first when it is short of memory; nothing in them is lost. Returns
  // how many bytes.
  size_t advise_cold() const;
  // Has the kernel, and with it KVM, forget where these whole pages of the host are, though nothing is lost: the
  // guest's next access finds them again. A host that does not allow that leaves them as they are.
  void look_up_anew() const;

  // One value at a byte offset that the caller knows to be inside (rings whose size was checked at activation).
  template <typename T>
  T load(size_t offset, std::memory_order order = std::memory_order_relaxed) const {
    static_assert(std::is_integral_v<T>);
    CHECK(offset + sizeof(T) <= size_);
    return std::atomic_ref<T>(*reinterpret_cast<T*>(data_ + offset)).load(order);
  }
  template <typename T>
  void store(size_t offset, T value, std::memory_order order = std::memory_order_relaxed) const {
    static_assert(std::is_integral_v<T>);
    CHECK(offset + sizeof(T) <= size_);
    std::atomic_ref<T>(*reinterpret_cast<T*>(data_ + offset)).store(value, order);
  }
  // A structure copied out at an offset known to be inside; the copy is what is then looked at.
  template <typename T>
  T copy_at(size_t offset) const {
    static_assert(std::is_trivially_copyable_v<T>);
    CHECK(offset + sizeof(T) <= size_);
    T value;
    std::memcpy(&value, data_ + offset, sizeof value);
    return value;
  }

  // The slice as the kernel takes it, for read(2), io_uring and the like.
  iovec iov() const { return {data_, size_}; }

 private:
  GuestSlice whole_pages() const;  // of the host

  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Memory by guest-physical address, as somebody sees it who only reads it: a guest's, or that of one in a file.
class PhysicalMemory {
 public:
  static constexpr uint64_t kPageSize = 4096;

  virtual ~PhysicalMemory() = default;

  // False when not all of it is memory.
  virtual bool read(GuestAddress address, std::span<std::byte> to) const = 0;
  // Calls `visit` with the start of every page that may be other than zeroes, in ascending order, until it says false:
  // whoever looks for something saves time, and does not make the others cost memory.
  virtual void for_each_touched_page(const std::function<bool(GuestAddress)>& visit) const = 0;

  template <typename T>
  std::optional<T> read(GuestAddress address) const {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    if (!read(address, std::as_writable_bytes(std::span(&value, 1)))) return std::nullopt;
    return value;
  }
};

class GuestMemory final : public PhysicalMemory {
 public:
  struct Range {
    GuestAddress start;
    uint64_t size = 0;
  };
  struct Region {
    GuestAddress start;
    uint64_t size = 0;
    std::byte* host = nullptr;
    uint64_t offset = 0;  // in the file of kShared
  };
  // kShared has pages of shared memory, which cost the host more time and are rarely huge ones.
  enum class Backing { kPrivate, kShared };

  // Reserves all ranges (page aligned, ascending, not overlapping). Throws Error when the host refuses.
  explicit GuestMemory(std::span<const Range> ranges, Backing backing = Backing::kPrivate);
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;
  ~GuestMemory() override;

  const std::vector<Region>& regions() const { return regions_; }
  uint64_t total_size() const;
  // The file behind all regions, -1 for kPrivate. Whoever is given it can read and write the guest's memory, but not
  // change the file's size, which would be the death of all who have mapped it.
  int fd() const { return file_.get(); }

  // `length` bytes at `address`, or nothing when any of them is not RAM or they span two regions.
  std::optional<GuestSlice> slice(GuestAddress address, uint64_t length) const;

  using PhysicalMemory::read;
  bool read(GuestAddress address, std::span<std::byte> to) const override;
  bool write(GuestAddress address, std::span<const std::byte> from) const;

  // Visits the pages that were ever dirty: written (if kPrivate, or read). Where the host does not tell, every page
  // counts.
  void for_each_touched_page(const std::function<bool(GuestAddress)>& visit) const override;

  template <typename T>
  bool write_value(GuestAddress address, const T& value) const {
    static_assert(std::is_trivially_copyable_v<T>);
    return write(address, std::as_bytes(std::span(&value, 1)));
  }

 private:
  using Visit = std::function<bool(GuestAddress)>;
  bool visit_mapped(const Region& region, const Visit& visit) const;
  bool visit_allocated(const Region& region, const Visit& visit) const;

  UniqueFd file_;
  std::vector<Region> regions_;
};

}  // namespace vmm
