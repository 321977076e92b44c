// Guest RAM from anonymous mappings or a memfd; see guest_memory.h.
#include "vmm/core/guest_memory.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "vmm/core/error.h"
#include "vmm/core/fd.h"
#include "vmm/core/new_file.h"

namespace vmm {

size_t GuestSlice::copy_out(std::span<std::byte> to) const {
  const size_t length = std::min(size_, to.size());
  if (length > 0) std::memcpy(to.data(), data_, length);
  return length;
}

size_t GuestSlice::copy_in(std::span<const std::byte> from) const {
  const size_t length = std::min(size_, from.size());
  if (length > 0) std::memcpy(data_, from.data(), length);
  return length;
}

void GuestSlice::fill(std::byte value) const {
  if (size_ > 0) std::memset(data_, std::to_integer<int>(value), size_);
}

GuestSlice GuestSlice::whole_pages() const {
  static const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(data_);
  const GuestSlice aligned = sub((page - begin % page) % page, size_);
  return aligned.sub(0, aligned.size_ / page * page);
}

size_t GuestSlice::discard() const {
  const GuestSlice pages = whole_pages();
  if (pages.empty()) return 0;
  // Shared memory is given back by a hole in its file; private memory has none, and refuses that.
  if (::madvise(pages.data_, pages.size_, MADV_REMOVE) == 0) return pages.size_;
  // Memory that is locked, or of huge pages, stays.
  return ::madvise(pages.data_, pages.size_, MADV_DONTNEED) == 0 ? pages.size_ : 0;
}

size_t GuestSlice::advise_cold() const {
  const GuestSlice pages = whole_pages();
  if (pages.empty()) return 0;
  // Memory that is locked, or of huge pages, is never taken; a host before Linux 5.4 knows no such advice.
  return ::madvise(pages.data_, pages.size_, MADV_COLD) == 0 ? pages.size_ : 0;
}

void GuestSlice::look_up_anew() const {
  // Whoever watches a mapping is told of each change of its protection. This one takes nothing away, so that other
  // threads may be in the middle of an access.
  ::mprotect(data_, size_, PROT_READ | PROT_WRITE | PROT_EXEC);
  ::mprotect(data_, size_, PROT_READ | PROT_WRITE);
}

namespace {

constexpr size_t kHugePage = 2 << 20;  // of x86-64, and of aarch64 with pages of 4 KiB

// It keeps its size, and that it does, for good.
UniqueFd make_file(uint64_t size) {
  UniqueFd file(::memfd_create("guest memory", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(size)) < 0 ||
      ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
    throw Error(fmt::format("cannot make {} MiB of shared guest memory: {}", size >> 20, errno_text(errno)),
                fix_for_growth(errno, "ask for less with --mem"));
  }
  return file;
}

// MAP_FAILED, with errno, when the host refuses. A huge page of the host can be one of the guest's only where both
// addresses lie alike in it, and the kernel does not see to that by itself: so more is reserved, and the ends are given
// back.
void* map(const GuestMemory::Range& range, const UniqueFd& file, uint64_t offset) {
  size_t reserved = 0;
  if (__builtin_add_overflow(range.size, kHugePage, &reserved)) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  void* const place = ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) return MAP_FAILED;
  auto* const start = static_cast<std::byte*>(place);
  const size_t before = (range.start.value - reinterpret_cast<uintptr_t>(start)) % kHugePage;
  std::byte* const wanted = start + before;
  // MAP_NORESERVE: memory is paid for when the guest touches it, so a guest may be larger than the host.
  const int kind = file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
  void* const host = ::mmap(wanted, range.size, PROT_READ | PROT_WRITE, kind | MAP_NORESERVE | MAP_FIXED, file.get(),
                            static_cast<off_t>(file ? offset : 0));
  if (host == MAP_FAILED) {
    const int error = errno;
    ::munmap(place, reserved);
    errno = error;
    return MAP_FAILED;
  }
  if (before > 0) ::munmap(place, before);
  if (before < kHugePage) ::munmap(wanted + range.size, kHugePage - before);
  return host;
}

}  // namespace

GuestMemory::GuestMemory(std::span<const Range> ranges, Backing backing) {
  uint64_t total = 0;
  for (const Range& range : ranges) total += range.size;
  if (backing == Backing::kShared) file_ = make_file(total);
  regions_.reserve(ranges.size());
  uint64_t offset = 0;
  for (const Range& range : ranges) {
    void* host = map(range, file_, offset);
    if (host == MAP_FAILED) {
      const int error = errno;
      for (const Region& region : regions_) ::munmap(region.host, region.size);
      throw Error(fmt::format("cannot reserve {} MiB of guest memory: {}", range.size >> 20, errno_text(error)),
                  "ask for less with --mem, or raise ulimit -v");
    }
    // A core dump of the monitor should not contain the guest.
    ::madvise(host, range.size, MADV_DONTDUMP);
    regions_.push_back({range.start, range.size, static_cast<std::byte*>(host), offset});
    offset += range.size;
  }
}

GuestMemory::~GuestMemory() {
  for (const Region& region : regions_) ::munmap(region.host, region.size);
}

uint64_t GuestMemory::total_size() const {
  uint64_t sum = 0;
  for (const Region& region : regions_) sum += region.size;
  return sum;
}

std::optional<GuestSlice> GuestMemory::slice(GuestAddress address, uint64_t length) const {
  for (const Region& region : regions_) {
    if (address < region.start) continue;
    const uint64_t offset = address.value - region.start.value;
    if (offset > region.size || length > region.size - offset) continue;
    return GuestSlice(region.host + offset, length);
  }
  return std::nullopt;
}

void GuestMemory::for_each_touched_page(const Visit& visit) const {
  for (const Region& region : regions_) {
    if (!(file_ ? visit_allocated(region, visit) : visit_mapped(region, visit))) return;
  }
}

// Documentation/admin-guide/mm/pagemap.rst: 64 bits for each page, of which bit 63 says present, and bit 62 swapped.
bool GuestMemory::visit_mapped(const Region& region, const Visit& visit) const {
  constexpr uint64_t kTouched = uint64_t{3} << 62;
  constexpr size_t kChunk = 8192;
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  std::vector<uint64_t> pages(kChunk);
  const uint64_t count = region.size / kPageSize;
  const uint64_t first = reinterpret_cast<uintptr_t>(region.host) / kPageSize;
  for (uint64_t done = 0; done < count; done += kChunk) {
    const size_t part = std::min<uint64_t>(kChunk, count - done);
    const size_t bytes = part * sizeof(uint64_t);
    const auto place = static_cast<off_t>((first + done) * sizeof(uint64_t));
    const ssize_t got = pagemap ? ::pread(pagemap.get(), pages.data(), bytes, place) : -1;
    if (got != static_cast<ssize_t>(bytes)) std::ranges::fill(pages, kTouched);
    for (size_t i = 0; i < part; ++i) {
      if ((pages[i] & kTouched) != 0 && !visit({region.start.value + (done + i) * kPageSize})) return false;
    }
  }
  return true;
}

// What another process wrote is in the file, but not in our page tables.
bool GuestMemory::visit_allocated(const Region& region, const Visit& visit) const {
  for (uint64_t at = 0; at < region.size;) {
    const off_t data = ::lseek(file_.get(), static_cast<off_t>(region.offset + at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return true;  // nothing but a hole from here on
    const off_t hole = data < 0 ? -1 : ::lseek(file_.get(), data, SEEK_HOLE);
    if (data >= 0) at = static_cast<uint64_t>(data) - region.offset;
    const uint64_t stop = hole < 0 ? region.size : std::min(static_cast<uint64_t>(hole) - region.offset, region.size);
    for (; at < stop; at += kPageSize) {
      if (!visit({region.start.value + at})) return false;
    }
  }
  return true;
}

bool GuestMemory::read(GuestAddress address, std::span<std::byte> to) const {
  const auto found = slice(address, to.size());
  if (found) found->copy_out(to);
  return found.has_value();
}

bool GuestMemory::write(GuestAddress address, std::span<const std::byte> from) const {
  const auto found = slice(address, from.size());
  if (found) found->copy_in(from);
  return found.has_value();
}

}  // namespace vmm
