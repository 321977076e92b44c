// Payloads as the kernel's Makefile makes them, by the encoders of the libraries that we decode with: a stream, and
// after it, but for gzip, its length when it is decompressed (size_append in scripts/Makefile.lib).
#pragma once

#include <bzlib.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

#include "tests/support/kernel_builder.h"

namespace vmm::test {

inline constexpr std::array kFormats = std::to_array<std::string_view>({"gzip", "xz", "zstd", "lz4", "bzip2", "lzma"});

inline void must(bool holds) {
  if (!holds) throw std::logic_error("an encoder failed");
}

inline std::string gzip(std::string_view text) {
  z_stream stream{};
  must(deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string copy(text);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(copy.data());
  stream.avail_in = static_cast<uInt>(copy.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  must(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// xz, or .lzma, with a dictionary of the given size.
inline std::string lzma(std::string_view text, bool alone, uint32_t dictionary = 1 << 20) {
  lzma_options_lzma options;
  must(!lzma_lzma_preset(&options, 1));
  options.dict_size = dictionary;
  const lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  lzma_stream stream = LZMA_STREAM_INIT;
  must((alone ? lzma_alone_encoder(&stream, &options) : lzma_stream_encoder(&stream, filters, LZMA_CHECK_CRC32)) ==
       LZMA_OK);
  std::string out(text.size() + text.size() / 2 + 4096, '\0');
  stream.next_in = reinterpret_cast<const uint8_t*>(text.data());
  stream.avail_in = text.size();
  stream.next_out = reinterpret_cast<uint8_t*>(out.data());
  stream.avail_out = out.size();
  must(lzma_code(&stream, LZMA_FINISH) == LZMA_STREAM_END);
  out.resize(stream.total_out);
  lzma_end(&stream);
  return out;
}

inline std::string zstd(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 1));
  return out;
}

inline std::string bzip2(std::string_view text) {
  std::string copy(text);
  auto size = static_cast<unsigned>(text.size() + text.size() / 50 + 1024);
  std::string out(size, '\0');
  must(BZ2_bzBuffToBuffCompress(out.data(), &size, copy.data(), static_cast<unsigned>(copy.size()), 1, 0, 0) == BZ_OK);
  out.resize(size);
  return out;
}

// The legacy frame: blocks of 8 MiB.
inline std::string lz4(std::string_view text) {
  std::string out = bytes_as_text(0x184c2102u);
  while (!text.empty()) {
    const auto block = text.substr(0, 8 << 20);
    text.remove_prefix(block.size());
    const int from = static_cast<int>(block.size());
    std::string packed(static_cast<size_t>(LZ4_compressBound(from)), '\0');
    const int size = LZ4_compress_default(block.data(), packed.data(), from, static_cast<int>(packed.size()));
    must(size > 0);
    out += bytes_as_text(static_cast<uint32_t>(size)) + packed.substr(0, static_cast<size_t>(size));
  }
  return out;
}

inline std::string compressed(std::string_view format, std::string_view text) {
  if (format == "gzip") return gzip(text);
  const std::string stream = format == "xz"      ? lzma(text, false)
                             : format == "lzma"  ? lzma(text, true)
                             : format == "zstd"  ? zstd(text)
                             : format == "bzip2" ? bzip2(text)
                                                 : lz4(text);
  return stream + bytes_as_text(static_cast<uint32_t>(text.size()));
}

// A bzImage with this payload.
inline std::string bzimage_of(std::string_view payload) {
  constexpr size_t kOffset = 0x300;
  const size_t size = std::max<size_t>(64 << 10, (kOffset + payload.size() + 15) / 16 * 16);
  std::string file = bzimage(
      [&](setup_header& header) {
        header.payload_offset = kOffset;
        header.payload_length = static_cast<uint32_t>(payload.size());
      },
      size);
  file.replace(kBzImageSetup + kOffset, payload.size(), payload);
  return file;
}

}  // namespace vmm::test
