// A vmcore of a small kernel whose headers and notes somebody overwrote, and that may be cut short. Whatever it is, it
// is refused, or read to an end.
#include "vmm/blackbox/vmcore.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "tests/fuzz/fuzz_input.h"
#include "tests/support/linux_memory.h"
#include "vmm/blackbox/vmcore_writer.h"
#include "vmm/control/verdict/findings.h"
#include "vmm/core/error.h"
#include "vmm/core/fd.h"

namespace vmm::test {

namespace {

struct Sample {
  explicit Sample(LinuxMemory::Machine machine) : linux(machine), file(::memfd_create("vmcore", MFD_CLOEXEC)) {
    linux.add_code("panic", 0x1000);
    linux.log(1, 0, "Kernel panic - not syncing: fuzzed");
    linux.write();
    const CpuState cpu = linux.cpu(0x1010, LinuxMemory::kStackEnd - 32);
    const BlackBox box(linux.memory, std::array{cpu});
    head = vmcore_head({.memory = linux.memory,
                        .cpus = std::array{cpu},
                        .vmcoreinfo = box.vmcoreinfo(),
                        .direct_map = box.direct_map(),
                        .image = box.image()});
    image.resize(0x200000);
    linux.memory.read(GuestAddress{LinuxMemory::kPhysical}, image);
    restore_memory();
  }
  void write(uint64_t offset, std::span<const std::byte> bytes) const {
    require(::pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
            static_cast<ssize_t>(bytes.size()));
  }
  uint64_t size() const { return head.size() + LinuxMemory::kRam; }
  void resize(uint64_t bytes) const { require(::ftruncate(file.get(), static_cast<off_t>(bytes)) == 0); }
  void restore_memory() const {
    resize(size());
    write(head.size() + LinuxMemory::kPhysical, image);
  }

  LinuxMemory linux;
  UniqueFd file;
  std::vector<std::byte> head;
  std::vector<std::byte> image;
};

void damage(FuzzInput& input, std::vector<std::byte>& head) {
  while (input.next_step()) {
    size_t offset = input.take_below(head.size());
    if (input.take_bool()) offset = 16 + offset % 240 / 8 * 8;  // the headers
    for (const std::byte byte : input.take_bytes(1 + input.take_below(8))) {
      if (offset < head.size()) head[offset++] = byte;
    }
  }
}

}  // namespace

void fuzz(FuzzInput& input) {
  static const Sample x86(LinuxMemory::Machine::kX86), arm64(LinuxMemory::Machine::kArm64);
  const Sample& sample = input.take_bool() ? arm64 : x86;
  const bool is_short = input.take_bool();
  const uint64_t size = is_short ? input.take<uint64_t>() % sample.size() : sample.size();
  std::vector<std::byte> head = sample.head;
  damage(input, head);
  sample.write(0, head);
  if (is_short) sample.resize(size);
  try {
    const Vmcore core(fmt::format("/proc/self/fd/{}", sample.file.get()));
    uint64_t pages = 0;
    core.for_each_touched_page([&](GuestAddress page) {
      ++pages;
      return core.read<std::byte>(page).has_value();
    });
    require(pages <= size / 4096 + 16);
    Findings::of(core, core.cpus(), core.vmcoreinfo());
  } catch (const Error& error) {
    require(error.what()[0] != '\0');
  }
  if (is_short) sample.restore_memory();
}

}  // namespace vmm::test
