// Payloads of bzImages: streams of every format with damage, any bytes, and a damaged vmlinux in a sound stream.
#include "firmware/decompress.h"
#include "tests/fuzz/kernel_target.h"
#include "tests/support/compress.h"

namespace {

using namespace vmm;
using namespace vmm::test;

std::string vmlinux() {
  const std::string text("\0Linux version 6.1.0 (fuzz)\0virtio_blk\0", 40);
  return ElfBuilder(64)
      .note(pvh_note(kMiB))
      .load(kMiB, text + "IKCFG_ST" + gzip("CONFIG_XFS_FS=y\n") + "IKCFG_ED")
      .build();
}

// A small limit, as a bomb is not what is looked for.
void unpack(std::string_view payload) {
  constexpr size_t kLimit = 1 << 20;
  try {
    const Bytes bytes = decompress({reinterpret_cast<const uint8_t*>(payload.data()), payload.size()}, kLimit);
    require(bytes.size() <= kLimit);
  } catch (const Error& error) {
    require(error.what()[0] != '\0');
  }
}

}  // namespace

void vmm::test::fuzz(FuzzInput& input) {
  const std::string_view format = kFormats[input.take_below(std::size(kFormats))];
  switch (input.take_below(3)) {
    case 0:
      return unpack(input.take_rest());
    case 1:
      return unpack(damage(input, compressed(format, vmlinux())));
    default:
      return load_kernel(bzimage_of(compressed(format, damage(input, vmlinux()))));
  }
}
