// The only door to guest memory stays shut where there is none.
#include "vmm/core/guest_memory.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/file_size_limit.h"
#include "vmm/core/error.h"

using namespace vmm;

namespace {

const GuestMemory::Range kRanges[] = {{{0}, 0x10000}, {{0x100000000}, 0x10000}};

// Bytes of this process that the kernel thinks of as used lately.
uint64_t referenced() {
  std::ifstream file("/proc/self/smaps_rollup");
  uint64_t kib = 0;
  for (std::string word; file >> word;) {
    if (word == "Referenced:") file >> kib;
  }
  return kib * 1024;
}

}  // namespace

TEST_CASE("guest memory: what is written is read back", "[core]") {
  const GuestMemory memory(kRanges);
  REQUIRE(memory.write_value(GuestAddress{0x100000ffc}, uint32_t{0xdecade}));
  CHECK(memory.read<uint32_t>(GuestAddress{0x100000ffc}) == 0xdecadeu);
}

TEST_CASE("guest memory: it lies so that the host's huge pages can be the guest's", "[core]") {
  constexpr uintptr_t kHugePage = 2 << 20;
  const GuestMemory::Range ranges[] = {{{0}, 0x401000}, {{0x703000}, 0x1000}, {{0x100000000}, 0x200000}};
  const auto backing = GENERATE(GuestMemory::Backing::kPrivate, GuestMemory::Backing::kShared);
  const GuestMemory memory(ranges, backing);
  for (const GuestMemory::Region& region : memory.regions()) {
    CHECK(reinterpret_cast<uintptr_t>(region.host) % kHugePage == region.start.value % kHugePage);
    CHECK(memory.write_value({region.start.value + region.size - 4}, uint32_t{7}));
  }
}

TEST_CASE("guest memory: ranges outside, across an end, and wrapping are refused", "[core]") {
  const GuestMemory memory(kRanges);
  CHECK(memory.slice({0xffff}, 1));
  CHECK_FALSE(memory.slice({0xffff}, 2));
  CHECK_FALSE(memory.slice({0x10000}, 1));
  CHECK_FALSE(memory.slice({0}, 0x100000000));
  CHECK_FALSE(memory.slice({0xfffffffffffff000}, 0x2000));
  CHECK_FALSE(memory.slice({0x1000}, ~uint64_t{0}));
}

TEST_CASE("guest memory: a part of a slice is clamped to it", "[core]") {
  const GuestMemory memory(kRanges);
  const auto slice = memory.slice({0}, 16);
  REQUIRE(slice);
  CHECK(slice->sub(8, 100).size() == 8);
  CHECK(slice->sub(100, 1).empty());
}

TEST_CASE("guest memory: of a part that is discarded whole pages become zeroes", "[core]") {
  const GuestMemory memory(kRanges, GENERATE(GuestMemory::Backing::kPrivate, GuestMemory::Backing::kShared));
  const auto all = memory.slice({0}, 0x10000);
  const auto count_zeroes = [&] {
    std::array<std::byte, 0x10000> bytes;
    all->copy_out(bytes);
    return std::ranges::count(bytes, std::byte{0});
  };
  all->fill(std::byte{1});
  CHECK(GuestSlice().discard() == 0);
  CHECK(all->sub(0x1001, 0xfff).discard() == 0);
  CHECK(all->sub(0x1000, 0xfff).discard() == 0);
  CHECK(all->sub(0x1001, 0x1ffe).discard() == 0);
  CHECK(count_zeroes() == 0);
  CHECK(all->sub(0x1fff, 0x1002).discard() == 0x1000);
  CHECK(count_zeroes() == 0x1000);
  CHECK(all->load<uint8_t>(0x1fff) == 1);
  CHECK(all->load<uint8_t>(0x2000) == 0);
  CHECK(all->load<uint8_t>(0x3000) == 1);
}

TEST_CASE("guest memory: a part that is advised as cold keeps what is in it, but counts as unused", "[core]") {
  constexpr size_t kSize = 16 << 20;
  const GuestMemory::Range ranges[] = {{{0}, kSize}};
  const GuestMemory memory(ranges, GENERATE(GuestMemory::Backing::kPrivate, GuestMemory::Backing::kShared));
  const auto all = memory.slice({0}, kSize);
  all->fill(std::byte{1});
  const uint64_t before = referenced();
  CHECK(all->sub(0x1001, kSize / 2).advise_cold() == kSize / 2 - 0x1000);
  CHECK(referenced() < before - kSize / 4);
  std::vector<std::byte> bytes(kSize);
  all->copy_out(bytes);
  CHECK(std::ranges::count(bytes, std::byte{1}) == kSize);

  CHECK(GuestSlice().advise_cold() == 0);
  CHECK(all->sub(0x1001, 0x1ffe).advise_cold() == 0);
  CHECK(all->sub(0x1fff, 0x1002).advise_cold() == 0x1000);
}

TEST_CASE("guest memory: a limit on files is one on shared memory, and said to be it", "[core]") {
  const test::FileSizeLimit limit(1024);
  try {
    const GuestMemory memory(kRanges, GuestMemory::Backing::kShared);
    FAIL("it was made");
  } catch (const Error& error) {
    CHECK(error.what() == std::string("cannot make 0 MiB of shared guest memory: File too large"));
    CHECK(error.fix() == "ulimit -f unlimited");
  }
}

TEST_CASE("guest memory: shared memory is one file, whose size nobody changes", "[core]") {
  const GuestMemory memory(kRanges, GuestMemory::Backing::kShared);
  REQUIRE(memory.fd() >= 0);
  const GuestMemory::Region& high = memory.regions().back();
  const uint32_t value = 0xdecade;
  REQUIRE(::pwrite(memory.fd(), &value, sizeof value, static_cast<off_t>(high.offset) + 16) == sizeof value);
  CHECK(memory.read<uint32_t>(GuestAddress{high.start.value + 16}) == value);
  CHECK(::ftruncate(memory.fd(), 0) < 0);
  CHECK(::ftruncate(memory.fd(), 1 << 30) < 0);
  int pages = 0;
  memory.for_each_touched_page([&](GuestAddress page) {
    pages += page == high.start ? 1 : 0;
    return true;
  });
  CHECK(pages == 1);
  CHECK(GuestMemory(kRanges).fd() == -1);
}

TEST_CASE("guest memory: a tebibyte is reserved without being paid for", "[core]") {
  const GuestMemory::Range large[] = {{{0}, uint64_t{1} << 40}};
  const GuestMemory memory(large);
  CHECK(memory.write_value(GuestAddress{(uint64_t{1} << 40) - 1}, uint8_t{1}));
}

TEST_CASE("guest memory: more than the address space is refused with words", "[core]") {
  const GuestMemory::Range absurd[] = {{{0}, uint64_t{1} << 50}};
  CHECK_THROWS_AS(GuestMemory(absurd), Error);
}

TEST_CASE("guest memory: pages that nobody touched are not visited, and stay untouched", "[core]") {
  constexpr uint64_t kPage = GuestMemory::kPageSize;
  const GuestMemory memory(
      std::array{GuestMemory::Range{{0}, uint64_t{64} << 20}, GuestMemory::Range{{uint64_t{1} << 32}, 4 * kPage}},
      GENERATE(GuestMemory::Backing::kPrivate, GuestMemory::Backing::kShared));
  memory.write_value(GuestAddress{5 * kPage + 100}, uint8_t{1});
  memory.write_value(GuestAddress{(uint64_t{40} << 20) + kPage}, uint8_t{1});
  memory.write_value(GuestAddress{(uint64_t{1} << 32) + 3 * kPage}, uint8_t{1});
  for (int round = 0; round < 2; ++round) {
    std::vector<uint64_t> seen;
    memory.for_each_touched_page([&](GuestAddress page) {
      seen.push_back(page.value);
      return true;
    });
    // A large page of the host is touched as a whole.
    CHECK(seen.size() <= 3 * 512);
    CHECK(std::ranges::is_sorted(seen));
    for (const uint64_t page : {5 * kPage, (uint64_t{40} << 20) + kPage, (uint64_t{1} << 32) + 3 * kPage}) {
      CHECK(std::ranges::count(seen, page) == 1);
    }
  }
  int visits = 0;
  memory.for_each_touched_page([&](GuestAddress) { return ++visits < 2; });
  CHECK(visits == 2);
}
