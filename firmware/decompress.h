// Decompression of what a bzImage carries: a stream of one of six formats, as the kernel's scripts/Makefile.lib makes
// it.
//
// The decoders are those of Debian's libraries; what is here is the frame around them, which trusts nothing: output
// grows as it is made, whatever size the stream announces, and ends at a limit; so do the dictionaries that a stream
// may ask for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "firmware/bytes.h"

namespace vmm {

// "gzip", "xz", "zstd", "lz4", "bzip2", "lzma", "lzo", "uncompressed" (an ELF file), by the first bytes; or nothing.
std::string_view compression_of(std::string_view start);

// The content of a compressed stream. Throws Error when it is of no format that we know, damaged, or makes more than
// `limit` bytes.
Bytes decompress_stream(std::span<const uint8_t> stream, size_t limit);

// The unpacked payload of a kernel. `payload` is a stream and, but for gzip, which has it already, the four bytes of
// its length that the kernel's Makefile appends. An uncompressed one is returned as it is.
Bytes decompress(std::span<const uint8_t> payload, size_t limit);

}  // namespace vmm
