// The seekable format of zstd: there and back, piece by piece, and files that are damaged.
#include "vmm/blackbox/seekable_zstd.h"

#include <array>
#include <catch2/catch.hpp>
#include <cstring>

using namespace vmm;

namespace {

constexpr uint64_t kFrame = SeekableZstdWriter::kFrame;

std::vector<std::byte> some_bytes(size_t count) {
  std::vector<std::byte> bytes(count);
  uint32_t state = 1;
  for (std::byte& byte : bytes) byte = static_cast<std::byte>((state = state * 1664525 + 1013904223) >> 24);
  return bytes;
}

struct File {
  std::vector<std::byte> bytes;

  std::unique_ptr<SeekableZstdReader> open() const {
    return SeekableZstdReader::open(bytes.size(), [this](uint64_t offset, std::span<std::byte> to) {
      if (offset > bytes.size() || to.size() > bytes.size() - offset) return false;
      std::memcpy(to.data(), bytes.data() + offset, to.size());
      return true;
    });
  }
};

// `data`, four frames of zeroes, and `data` again.
File file_of(std::span<const std::byte> data) {
  File file;
  SeekableZstdWriter writer(
      [&file](std::span<const std::byte> bytes) { file.bytes.insert(file.bytes.end(), bytes.begin(), bytes.end()); });
  writer.append(data);
  writer.append_zeroes(4 * kFrame);
  writer.append(data);
  writer.finish();
  return file;
}

}  // namespace

TEST_CASE("seekable zstd: any part is read without what is before", "[zstd]") {
  const auto data = some_bytes(3 * kFrame + 1234);
  const File file = file_of(data);
  const auto reader = file.open();
  REQUIRE(reader);
  CHECK(reader->size() == 2 * data.size() + 4 * kFrame);
  std::vector<std::byte> read(2 * kFrame);
  REQUIRE(reader->read(data.size() + 4 * kFrame + 100, read));
  CHECK(std::memcmp(read.data(), data.data() + 100, read.size()) == 0);
  std::array<std::byte, 8> end;
  CHECK(reader->read(reader->size() - 8, end));
  CHECK_FALSE(reader->read(reader->size() - 7, end));
  CHECK_FALSE(reader->read(~uint64_t{0}, end));
}

TEST_CASE("seekable zstd: frames of zeroes are small, and told from others", "[zstd]") {
  const auto data = some_bytes(kFrame);
  const File file = file_of(data);
  CHECK(file.bytes.size() < 2 * kFrame + 4096);
  const auto reader = file.open();
  const auto first = reader->next_data(10);
  REQUIRE(first);
  CHECK(first->start == 10);
  CHECK(first->end == kFrame);
  const auto second = reader->next_data(kFrame);
  REQUIRE(second);
  CHECK(second->start == 5 * kFrame);
  CHECK(second->end == 6 * kFrame);
  CHECK_FALSE(reader->next_data(6 * kFrame));
}

TEST_CASE("seekable zstd: a file without a table that fits it is none", "[zstd]") {
  const File whole = file_of(some_bytes(1000));
  REQUIRE(whole.open());
  File cut = whole;
  cut.bytes.pop_back();
  CHECK_FALSE(cut.open());
  CHECK_FALSE(File().open());
  // One more frame than there is.
  File more = whole;
  more.bytes[more.bytes.size() - 9] = std::byte{20};
  CHECK_FALSE(more.open());
  // The last frame is longer than a frame may be.
  File longer = whole;
  longer.bytes[longer.bytes.size() - 10] = std::byte{0xff};
  CHECK_FALSE(longer.open());
}

TEST_CASE("seekable zstd: what is damaged is not read", "[zstd]") {
  const auto data = some_bytes(kFrame);
  File file = file_of(data);
  file.bytes[1000] ^= std::byte{1};
  const auto reader = file.open();
  std::array<std::byte, 8> read;
  CHECK_FALSE(reader->read(0, read));
  CHECK(reader->read(kFrame, read));
}
