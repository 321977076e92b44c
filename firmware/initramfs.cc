// Writing a cpio archive; see initramfs.h.
#include "firmware/initramfs.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <string>

#include "vmm/core/check.h"

// firmware/guest/init.c, as a program, put here by the linker.
extern "C" const std::byte vmm_guest_init[];
extern "C" const std::byte vmm_guest_init_end[];

namespace vmm {

void Initramfs::add_directory(std::string_view path) { add(path, {.mode = S_IFDIR | 0755}, {}); }

void Initramfs::add_file(std::string_view path, std::span<const std::byte> content, uint32_t permissions) {
  add(path, {.mode = S_IFREG | permissions}, content);
}

void Initramfs::add_device(std::string_view path, uint32_t major, uint32_t minor) {
  add(path, {.mode = S_IFCHR | 0600, .major = major, .minor = minor}, {});
}

std::vector<std::byte> Initramfs::finish() {
  add("TRAILER!!!", {}, {});
  return std::move(archive_);
}

void Initramfs::add(std::string_view path, const Entry& entry, std::span<const std::byte> content) {
  CHECK(content.size() <= std::numeric_limits<uint32_t>::max());
  // Magic; inode, mode, owner, group, links, time, size; the device of the file and of the node; name size; check sum.
  const std::string header =
      fmt::format("070701{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}", ++inodes_,
                  entry.mode, 0, 0, 1, 0, content.size(), 0, 0, entry.major, entry.minor, path.size() + 1, 0);
  std::ranges::copy(std::as_bytes(std::span(header)), std::back_inserter(archive_));
  std::ranges::copy(std::as_bytes(std::span(path)), std::back_inserter(archive_));
  archive_.push_back(std::byte{0});
  pad();
  archive_.insert(archive_.end(), content.begin(), content.end());
  pad();
}

void Initramfs::pad() { archive_.resize((archive_.size() + 3) / 4 * 4); }

std::span<const std::byte> guest_init() { return {vmm_guest_init, vmm_guest_init_end}; }

}  // namespace vmm
