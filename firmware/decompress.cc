// One loop for the libraries' decoders, which all consume some and produce some; see decompress.h. LZ4 alone is done
// block by block: the legacy frame that the kernel uses is not known to liblz4's frame decoder. It is described in
// doc/lz4_Frame_format.md of lz4.
#include "firmware/decompress.h"

#define ZLIB_CONST  // its input is read only, and its types say so

#include <bzlib.h>
#include <fmt/core.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <utility>

#include "vmm/core/error.h"

namespace vmm {
namespace {

using namespace std::string_view_literals;

constexpr size_t kFirstOutput = 1 << 20;
// The kernel's xz and zstd use dictionaries of at most 128 MiB.
constexpr uint64_t kDecoderMemory = 192 << 20;

struct Magic {
  std::string_view bytes, name;
};
constexpr std::array kMagics = std::to_array<Magic>({{"\x1f\x8b"sv, "gzip"},
                                                     {"\xfd\x37zXZ\0"sv, "xz"},
                                                     {"\x28\xb5\x2f\xfd"sv, "zstd"},
                                                     {"\x02\x21\x4c\x18"sv, "lz4"},
                                                     {"BZh"sv, "bzip2"},
                                                     {"\x5d\0\0"sv, "lzma"},
                                                     {"\x89LZO"sv, "lzo"},
                                                     {"\x7f"
                                                      "ELF"sv,
                                                      "uncompressed"}});

Error damaged() { return Error("the compressed data is damaged", "copy or build it again"); }
Error cut_short() { return Error("the compressed data ends too soon", "copy or build it again"); }
Error too_long(size_t limit) { return Error(fmt::format("it decompresses to more than {} MiB", limit >> 20)); }
Error too_demanding() { return Error("its decompression takes more memory than a kernel's should"); }

// What a decoder still may read, and write.
struct Window {
  std::span<const uint8_t> in;
  std::span<uint8_t> out;

  void advance(size_t consumed, size_t produced) {
    in = in.subspan(consumed);
    out = out.subspan(produced);
  }
};

// A decoder does what it can within a window; whether the stream has ended.
template <typename T>
concept Decoder = requires(T& decoder, Window& window) {
  { decoder.step(window) } -> std::same_as<bool>;
};

// A size for the libraries that count in unsigned int.
template <typename T>
T clipped(size_t size) {
  return static_cast<T>(std::min<size_t>(size, std::numeric_limits<T>::max()));
}

class Gzip {
 public:
  Gzip() {
    constexpr int kWithGzipHeader = 16;
    if (inflateInit2(&stream_, kWithGzipHeader + MAX_WBITS) != Z_OK) throw std::bad_alloc();
  }
  ~Gzip() { inflateEnd(&stream_); }
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;

  bool step(Window& window) {
    stream_.next_in = window.in.data();
    stream_.avail_in = clipped<uInt>(window.in.size());
    stream_.next_out = window.out.data();
    stream_.avail_out = clipped<uInt>(window.out.size());
    const int result = inflate(&stream_, Z_NO_FLUSH);
    window.advance(static_cast<size_t>(stream_.next_in - window.in.data()),
                   static_cast<size_t>(stream_.next_out - window.out.data()));
    if (result == Z_MEM_ERROR) throw std::bad_alloc();
    if (result != Z_OK && result != Z_BUF_ERROR && result != Z_STREAM_END) throw damaged();
    return result == Z_STREAM_END;
  }

 private:
  z_stream stream_{};
};

// xz, and the older .lzma.
class Lzma {
 public:
  enum class Format { kXz, kAlone };

  explicit Lzma(Format format) {
    const lzma_ret result = format == Format::kXz ? lzma_stream_decoder(&stream_, kDecoderMemory, 0)
                                                  : lzma_alone_decoder(&stream_, kDecoderMemory);
    if (result != LZMA_OK) throw std::bad_alloc();
  }
  ~Lzma() { lzma_end(&stream_); }
  Lzma(const Lzma&) = delete;
  Lzma& operator=(const Lzma&) = delete;

  bool step(Window& window) {
    stream_.next_in = window.in.data();
    stream_.avail_in = window.in.size();
    stream_.next_out = window.out.data();
    stream_.avail_out = window.out.size();
    const lzma_ret result = lzma_code(&stream_, LZMA_RUN);
    window.advance(window.in.size() - stream_.avail_in, window.out.size() - stream_.avail_out);
    if (result == LZMA_MEM_ERROR) throw std::bad_alloc();
    if (result == LZMA_MEMLIMIT_ERROR) throw too_demanding();
    if (result != LZMA_OK && result != LZMA_BUF_ERROR && result != LZMA_STREAM_END) throw damaged();
    return result == LZMA_STREAM_END;
  }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
};

class Zstd {
 public:
  Zstd() {
    if (!stream_) throw std::bad_alloc();
  }

  // The library refuses windows of more than 128 MiB (ZSTD_WINDOWLOG_LIMIT_DEFAULT).
  bool step(Window& window) {
    ZSTD_inBuffer in{window.in.data(), window.in.size(), 0};
    ZSTD_outBuffer out{window.out.data(), window.out.size(), 0};
    const size_t result = ZSTD_decompressStream(stream_.get(), &out, &in);
    window.advance(in.pos, out.pos);
    if (ZSTD_isError(result) != 0) throw damaged();
    return result == 0;
  }

 private:
  struct Free {
    void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
  };
  std::unique_ptr<ZSTD_DStream, Free> stream_{ZSTD_createDStream()};
};

class Bzip2 {
 public:
  Bzip2() {
    if (BZ2_bzDecompressInit(&stream_, 0, 0) != BZ_OK) throw std::bad_alloc();
  }
  ~Bzip2() { BZ2_bzDecompressEnd(&stream_); }
  Bzip2(const Bzip2&) = delete;
  Bzip2& operator=(const Bzip2&) = delete;

  bool step(Window& window) {
    const auto in = clipped<unsigned>(window.in.size());
    const auto out = clipped<unsigned>(window.out.size());
    // The library's own types; input is only read.
    stream_.next_in = const_cast<char*>(reinterpret_cast<const char*>(window.in.data()));
    stream_.avail_in = in;
    stream_.next_out = reinterpret_cast<char*>(window.out.data());
    stream_.avail_out = out;
    const int result = BZ2_bzDecompress(&stream_);
    window.advance(in - stream_.avail_in, out - stream_.avail_out);
    if (result == BZ_MEM_ERROR) throw std::bad_alloc();
    if (result != BZ_OK && result != BZ_STREAM_END) throw damaged();
    return result == BZ_STREAM_END;
  }

 private:
  bz_stream stream_{};
};

template <Decoder T>
Bytes run(T&& decoder, std::span<const uint8_t> in, size_t limit) {
  Bytes bytes;
  Window window{in, {}};
  for (bool ended = false; !ended;) {
    if (window.out.empty()) {
      const size_t made = bytes.size();
      if (made > limit) throw too_long(limit);
      bytes.resize(std::min(limit + 1, std::max(kFirstOutput, 2 * made)));  // one more shows that it is too long
      window.out = std::span(bytes).subspan(made);
    }
    const auto [left, room] = std::pair(window.in.size(), window.out.size());
    ended = decoder.step(window);
    if (!ended && window.in.size() == left && window.out.size() == room) throw cut_short();
  }
  bytes.resize(bytes.size() - window.out.size());
  if (bytes.size() > limit) throw too_long(limit);
  return bytes;
}

// The magic number, then blocks: a 32-bit length and that many bytes, which make at most 8 MiB. There is no end mark.
Bytes run_lz4(std::span<const uint8_t> in, size_t limit) {
  constexpr uint32_t kMagic = 0x184c2102;
  constexpr size_t kBlock = 8 << 20;
  Bytes bytes;
  const auto block = std::make_unique_for_overwrite<char[]>(kBlock);
  while (!in.empty()) {
    uint32_t length = 0;
    if (in.size() < sizeof length) throw cut_short();
    std::memcpy(&length, in.data(), sizeof length);
    in = in.subspan(sizeof length);
    if (length == kMagic) continue;  // concatenated frames are one
    if (length > LZ4_COMPRESSBOUND(kBlock)) throw damaged();
    if (length > in.size()) throw cut_short();
    const int made = LZ4_decompress_safe(reinterpret_cast<const char*>(in.data()), block.get(),
                                         static_cast<int>(length), static_cast<int>(kBlock));
    if (made < 0) throw damaged();
    if (static_cast<size_t>(made) > limit - bytes.size()) throw too_long(limit);
    bytes.insert(bytes.end(), block.get(), block.get() + made);
    in = in.subspan(length);
  }
  return bytes;
}

Bytes run_named(std::string_view name, std::span<const uint8_t> stream, size_t limit) {
  if (name == "gzip") return run(Gzip(), stream, limit);
  if (name == "xz") return run(Lzma(Lzma::Format::kXz), stream, limit);
  if (name == "lzma") return run(Lzma(Lzma::Format::kAlone), stream, limit);
  if (name == "zstd") return run(Zstd(), stream, limit);
  if (name == "lz4") return run_lz4(stream, limit);
  if (name == "bzip2") return run(Bzip2(), stream, limit);
  if (name.empty()) throw Error("it is compressed in no way that is known");
  throw Error(fmt::format("not supported: {}", name));
}

std::string_view name_of(std::span<const uint8_t> stream) {
  return compression_of({reinterpret_cast<const char*>(stream.data()), stream.size()});
}

}  // namespace

std::string_view compression_of(std::string_view start) {
  const auto found =
      std::find_if(kMagics.begin(), kMagics.end(), [&](const Magic& magic) { return start.starts_with(magic.bytes); });
  return found == kMagics.end() ? std::string_view() : found->name;
}

Bytes decompress_stream(std::span<const uint8_t> stream, size_t limit) {
  return run_named(name_of(stream), stream, limit);
}

Bytes decompress(std::span<const uint8_t> payload, size_t limit) {
  const std::string_view name = name_of(payload);
  if (name == "uncompressed") {
    if (payload.size() > limit) throw too_long(limit);
    return {payload.begin(), payload.end()};
  }
  if (name == "gzip") return run_named(name, payload, limit);

  uint32_t expected = 0;
  if (payload.size() < sizeof expected) throw cut_short();
  const auto stream = payload.first(payload.size() - sizeof expected);
  Bytes bytes = run_named(name, stream, limit);
  std::memcpy(&expected, payload.data() + stream.size(), sizeof expected);
  if (bytes.size() != expected) throw damaged();
  return bytes;
}

}  // namespace vmm
