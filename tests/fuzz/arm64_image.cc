// Images of 64-bit ARM: one with a damaged header, alone or in a damaged zboot program, or a file of any bytes.
#include "firmware/arm64_image.h"

#include "tests/fuzz/fuzz_input.h"
#include "tests/support/arm_image.h"
#include "tests/support/arm_platform.h"
#include "tests/support/kernel_builder.h"
#include "vmm/core/error.h"

namespace vmm::test {
namespace {

std::string damage(FuzzInput& input, std::string file) {
  while (input.next_step() && !file.empty()) {
    size_t offset = input.take_below(std::min<size_t>(file.size(), 128));
    for (const std::byte byte : input.take_bytes(1 + input.take_below(8))) {
      if (offset < file.size()) file[offset++] = std::to_integer<char>(byte);
    }
  }
  return file;
}

// An Error is a good answer; anything else that goes wrong is a fault.
void load(const std::string& file) {
  static const Platform platform = arm_platform(16 * kMiB);
  static const GuestMemory memory(platform.ram);
  const MemorySource kernel(as_file(file)), initrd(as_file("an initrd"));
  try {
    const Arm64Image image = parse_arm64_image(kernel);
    const BootModule module{&initrd, "initrd"};
    const Aarch64Entry entry = load_arm64_image(image, kernel, {memory, platform, std::span(&module, 1), "kernel"});
    require(memory.slice({entry.pc}, 1).has_value() && memory.slice({entry.x0}, 1).has_value());
    facts_of_arm64_image(image, kernel);
  } catch (const Error& error) {
    require(error.what()[0] != '\0');
  }
}

}  // namespace

void fuzz(FuzzInput& input) {
  switch (input.take_below(3)) {
    case 0:
      return load(input.take_rest());
    case 1:
      return load(damage(input, arm64_image({}, 4096)));
    default: {
      const std::string packed = gzip(arm64_image({}, 4096));
      return load(damage(input, zboot(packed, "gzip", static_cast<uint32_t>(packed.size()))));
    }
  }
}

}  // namespace vmm::test
