// Segments: what is refused before anything is copied, and the copying.
#include "firmware/segments.h"

#include "vmm/core/error.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "firmware/layout_x86_64.h"
#include "tests/support/boot_fixture.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

namespace {

constexpr std::string_view kContent = "0123456789abcdef";

SegmentedKernel kernel_of(std::vector<Segment> segments, uint64_t entry = kMiB) {
  SegmentedKernel kernel;
  kernel.info.entry = entry;
  kernel.segments = std::move(segments);
  return kernel;
}

void check(std::vector<Segment> segments, uint64_t entry = kMiB) {
  SegmentedKernel kernel = kernel_of(std::move(segments), entry);
  check_segments(kernel, MemorySource(as_file(kContent)));
}

}  // namespace

TEST_CASE("segments: content is copied and the rest of the memory zeroed", "[firmware][segments]") {
  Boot boot;
  boot.memory.slice({kMiB}, 4096)->fill(std::byte{0xee});
  const auto kernel = kernel_of({{4, 8, kMiB, 12}});
  const BootRequest request{boot.memory, boot.platform, {}, "kernel"};
  const AddressRange range = load_segments(kernel, MemorySource(as_file(kContent)), request);
  CHECK(range.start == kMiB);
  CHECK(range.end == kMiB + 12);
  CHECK(boot.bytes(kMiB, 13) == std::string("456789ab\0\0\0\0\xee", 13));
}

TEST_CASE("segments: they are sorted, and may touch", "[firmware][segments]") {
  auto kernel = kernel_of({{0, 4, kMiB + 16, 16}, {4, 4, kMiB, 16}});
  check_segments(kernel, MemorySource(as_file(kContent)));
  CHECK(kernel.segments.front().address == kMiB);
}

TEST_CASE("segments: more content than memory is refused", "[firmware][segments]") {
  CHECK_THROWS_WITH(check({{0, 8, kMiB, 7}}), Contains("more bytes in the file"));
}

TEST_CASE("segments: content beyond the file is refused", "[firmware][segments]") {
  CHECK_NOTHROW(check({{8, 8, kMiB, 8}}));
  const auto offset = GENERATE(uint64_t{9}, uint64_t{17}, ~uint64_t{0}, ~uint64_t{0} - 7);
  CHECK_THROWS_WITH(check({{offset, 8, kMiB, 8}}), Contains("beyond the end of the file"));
}

TEST_CASE("segments: addresses that wrap or lie beyond 4 GiB are refused", "[firmware][segments]") {
  const auto [address, size] = GENERATE(table<uint64_t, uint64_t>(
      {{~uint64_t{0} - 7, 8}, {~uint64_t{0}, ~uint64_t{0}}, {kMiB, ~uint64_t{0}}, {kFourGiB, 1}, {kFourGiB - 1, 2}}));
  CHECK_THROWS_WITH(check({{0, 0, address, size}}), Contains("reaches beyond 4 GiB"));
}

TEST_CASE("segments: our own structures below 1 MiB are not overwritten", "[firmware][segments]") {
  const auto [address, size] =
      GENERATE(table<uint64_t, uint64_t>({{kFirmwareStart.value - 1, 2}, {0, kMiB + 1}, {0x93000, 1}, {0xfffff, 1}}));
  CHECK_THROWS_WITH(check({{0, 0, address, size}}), Contains("page tables"));
}

TEST_CASE("segments: a trampoline or a whole kernel in low memory is fine", "[firmware][segments]") {
  CHECK_NOTHROW(check({{0, 16, 0x1000, 16}, {0, 16, kMiB, 16}}));
  CHECK_NOTHROW(check({{0, 16, 0x4000, kFirmwareStart.value - 0x4000}}, 0x4000));
}

TEST_CASE("segments: overlapping ones are refused", "[firmware][segments]") {
  CHECK_THROWS_WITH(check({{0, 4, kMiB, 17}, {0, 4, kMiB + 16, 16}}), Contains("two segments overlap at 0x100010"));
}

TEST_CASE("segments: an entry point outside all of them is refused", "[firmware][segments]") {
  CHECK_NOTHROW(check({{0, 4, kMiB, 16}}, kMiB + 15));
  CHECK_THROWS_WITH(check({{0, 4, kMiB, 16}}, kMiB + 16), Contains("in none of its segments"));
  CHECK_THROWS_WITH(check({}), Contains("in none of its segments"));
}

TEST_CASE("segments: one beyond the end of RAM is refused when loaded", "[firmware][segments]") {
  Boot boot;
  const BootRequest request{boot.memory, boot.platform, {}, "kernel"};
  const MemorySource file(as_file(kContent));
  CHECK_NOTHROW(load_segments(kernel_of({{0, 4, 64 * kMiB - 4, 4}}), file, request));
  CHECK_THROWS_WITH(load_segments(kernel_of({{0, 4, 64 * kMiB - 4, 5}}), file, request),
                    Contains("needs memory up to 65 MiB"));
}
