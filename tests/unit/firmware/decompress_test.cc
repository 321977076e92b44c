// Decompression: what every format yields, and what damaged, greedy and endless streams get.
#include "firmware/decompress.h"

#include "vmm/core/error.h"
// Catch2 has a CHECK of its own, and tests mean that one.
#include <catch2/catch.hpp>

#include "tests/support/compress.h"

using namespace vmm;
using namespace vmm::test;
using Catch::Contains;

namespace {

constexpr size_t kLimit = 32 << 20;

std::string unpacked(std::string_view payload, size_t limit = kLimit) {
  const Bytes bytes = decompress({reinterpret_cast<const uint8_t*>(payload.data()), payload.size()}, limit);
  return {bytes.begin(), bytes.end()};
}

// Not so regular that a few bytes say it all, and more than one block of LZ4.
std::string long_text() {
  std::string text;
  for (uint32_t state = 1; text.size() < 9 << 20; state = state * 1664525 + 1013904223) {
    text.append(1 + state % 13, static_cast<char>('a' + (state >> 24) % 26));
  }
  return text;
}

const std::string& sample() {
  static const std::string text = long_text().substr(0, 100000);
  return text;
}

}  // namespace

TEST_CASE("decompress: every format yields what went in", "[firmware][decompress]") {
  const auto format = GENERATE(from_range(kFormats));
  INFO(format);
  const std::string text = long_text();
  const std::string payload = compressed(format, text);
  CHECK(compression_of(payload) == format);
  CHECK((unpacked(payload) == text));
}

TEST_CASE("decompress: an ELF file is what it is", "[firmware][decompress]") {
  CHECK(unpacked("\x7f"
                 "ELF and more") ==
        "\x7f"
        "ELF and more");
}

TEST_CASE("decompress: a stream that was cut at any place is refused", "[firmware][decompress]") {
  const auto format = GENERATE(from_range(kFormats));
  const auto kept = GENERATE(0u, 3u, 5u, 12u, 14u, 30u, 1000u, ~5u, ~1u, ~0u);
  INFO(format << " " << kept);
  const std::string payload = compressed(format, sample());
  const size_t size = kept > 1u << 31 ? payload.size() - 1 - ~kept : std::min<size_t>(kept, payload.size() - 1);
  CHECK_THROWS_AS(unpacked(payload.substr(0, size)), Error);
}

TEST_CASE("decompress: a stream without its last byte ends too soon", "[firmware][decompress]") {
  CHECK_THROWS_WITH(unpacked(gzip(sample()).substr(0, 500)), Contains("ends too soon"));
  CHECK_THROWS_WITH(unpacked(lz4(sample()).substr(0, 500)), Contains("ends too soon"));
}

TEST_CASE("decompress: a damaged stream is refused", "[firmware][decompress]") {
  const auto format = GENERATE(from_range(kFormats));
  INFO(format);
  std::string payload = compressed(format, sample());
  for (size_t at = payload.size() / 2; at < payload.size() / 2 + 16; ++at)
    payload[at] = static_cast<char>(~payload[at]);
  CHECK_THROWS_AS(unpacked(payload), Error);
}

TEST_CASE("decompress: a length other than the announced one is damage", "[firmware][decompress]") {
  const auto format = GENERATE("xz", "zstd", "lz4", "bzip2", "lzma");
  std::string payload = compressed(format, sample());
  poke(payload, payload.size() - 4, static_cast<uint32_t>(sample().size() + 1));
  CHECK_THROWS_WITH(unpacked(payload), Contains("damaged"));
}

TEST_CASE("decompress: output ends at the limit", "[firmware][decompress]") {
  const auto format = GENERATE(from_range(kFormats));
  INFO(format);
  const std::string payload = compressed(format, std::string(20 << 20, '\0'));
  CHECK_THROWS_WITH(unpacked(payload, 12 << 20), Contains("more than 12 MiB"));
}

TEST_CASE("decompress: output of exactly the limit is let through, one byte more is not", "[firmware][decompress]") {
  const auto format = GENERATE(from_range(kFormats));
  INFO(format);
  const std::string payload = compressed(format, sample());
  CHECK((unpacked(payload, sample().size()) == sample()));
  CHECK_THROWS_WITH(unpacked(payload, sample().size() - 1), Contains("decompresses to more than"));
}

TEST_CASE("decompress: an enormous dictionary is refused", "[firmware][decompress]") {
  std::string payload = compressed("lzma", sample());
  poke(payload, 1, uint32_t{3} << 30);
  CHECK_THROWS_WITH(unpacked(payload), Contains("more memory"));
}

TEST_CASE("decompress: a dictionary of 128 MiB, as the kernel uses, is not", "[firmware][decompress]") {
  std::string payload = compressed("lzma", sample());
  poke(payload, 1, uint32_t{128} << 20);
  CHECK((unpacked(payload) == sample()));
}

TEST_CASE("decompress: a block of LZ4 that claims too much is refused", "[firmware][decompress]") {
  std::string payload = compressed("lz4", sample());
  poke(payload, 4, 0x7fffffffu);
  CHECK_THROWS_WITH(unpacked(payload), Contains("damaged"));
}

TEST_CASE("decompress: LZ4 frames one after the other are one", "[firmware][decompress]") {
  const std::string payload = lz4("one ") + lz4("two") + bytes_as_text(7u);
  CHECK(unpacked(payload) == "one two");
}

TEST_CASE("decompress: what cannot be decompressed is named", "[firmware][decompress]") {
  CHECK_THROWS_WITH(unpacked("\x89LZO and the rest"), Contains("not supported: lzo"));
  CHECK_THROWS_WITH(unpacked("whatever this is"), Contains("in no way that is known"));
}
