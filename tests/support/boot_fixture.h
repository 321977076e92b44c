// Boot: a guest's memory and what a kernel finds in it when it starts.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "firmware/kernel_file.h"
#include "tests/support/kernel_builder.h"
#include "tests/support/test_platform.h"

namespace vmm::test {

struct Boot {
  explicit Boot(uint64_t ram = 64 * kMiB) : platform(platform_with(ram)), memory(platform.ram) {}

  CpuEntry load(const std::string& file, const std::string& initrd = {}) {
    const MemorySource source(as_file(initrd));
    const BootModule module{&source, "initrd"};
    return load_with(file, initrd.empty() ? std::span<const BootModule>() : std::span(&module, 1));
  }
  CpuEntry load_with(const std::string& file, std::span<const BootModule> modules) {
    const auto kernel = KernelFile::from_bytes(as_file(file), "kernel");
    return std::get<CpuEntry>(kernel.load_with(memory, platform, modules));
  }

  template <typename T>
  T at(uint64_t address) const {
    return memory.read<T>(GuestAddress{address}).value();
  }
  std::string bytes(uint64_t address, size_t length) const {
    std::string text(length, '\0');
    memory.read(GuestAddress{address}, std::as_writable_bytes(std::span(text)));
    return text;
  }
  // Up to the NUL.
  std::string text(uint64_t address) const { return bytes(address, 4096).c_str(); }

  Platform platform;
  GuestMemory memory;
};

inline KernelInfo inspect(const std::string& file) { return KernelFile::from_bytes(as_file(file), "kernel").info(); }

}  // namespace vmm::test
