// Images of 64-bit ARM, made by hand.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "tests/support/compress.h"
#include "tests/support/test_platform.h"

namespace vmm::test {

struct Arm64Header {
  uint32_t code0 = 0x14000000, code1 = 0;
  uint64_t text_offset = 0;
  uint64_t image_size = 4 * kMiB;
  uint64_t flags = 0xa;  // pages of 4 KiB, anywhere
  uint64_t res2 = 0, res3 = 0, res4 = 0;
  uint32_t magic = 0x644d5241;
  uint32_t res5 = 0;
};

inline std::string arm64_image(const Arm64Header& header = {}, size_t size = kMiB) {
  std::string file(size, 'K');
  std::memcpy(file.data(), &header, sizeof header);
  const std::string banner = "Linux version 6.1.0-arm64 (root@host) #1";
  file.replace(0x800, banner.size() + 1, banner + '\0');
  return file;
}

inline std::string zboot(const std::string& packed, const std::string& compression, uint32_t size) {
  std::string file(0x1000, '\0');
  const uint32_t offset = 0x1000;
  file.replace(0, 8, std::string("MZ\0\0zimg", 8));
  std::memcpy(file.data() + 8, &offset, sizeof offset);
  std::memcpy(file.data() + 12, &size, sizeof size);
  file.replace(24, compression.size(), compression);
  return file + packed;
}

}  // namespace vmm::test
