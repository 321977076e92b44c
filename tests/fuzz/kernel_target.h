// What the targets for kernel files share: a file, looked at and then loaded into a small guest.
#pragma once

#include "firmware/kernel_file.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/kernel_builder.h"
#include "tests/support/test_platform.h"
#include "vmm/core/error.h"

namespace vmm::test {

// The rest of the input overwrites parts of a sound file: offset, length, bytes.
inline std::string damage(FuzzInput& input, std::string file) {
  while (input.next_step() && !file.empty()) {
    size_t offset = input.take_below(file.size());
    for (const std::byte byte : input.take_bytes(1 + input.take_below(8))) {
      if (offset < file.size()) file[offset++] = std::to_integer<char>(byte);
    }
  }
  return file;
}

// An Error is a good answer; anything else that goes wrong is a fault. Memory is what a small machine has, and one
// guest serves all inputs: nothing that a loader does depends on what is there.
inline void load_kernel(const std::string& file) {
  static const Platform platform = platform_with(8 * kMiB);
  static const GuestMemory memory(platform.ram);
  static const std::string initrd(5000, 'i');
  try {
    const auto kernel = KernelFile::from_bytes(as_file(file), "kernel");
    require(!kernel.describe().empty());
    const MemorySource source(as_file(initrd));
    const std::array<BootModule, 2> modules{{{&source, "one"}, {&source, "two with arguments"}}};
    const auto entry = std::get<CpuEntry>(kernel.load_with(memory, platform, modules));
    require(memory.slice({entry.rip}, 1).has_value());
  } catch (const Error& error) {
    require(error.what()[0] != '\0');
  }
}

}  // namespace vmm::test
