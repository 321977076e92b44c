// Initramfs: a root file system in memory, as Linux unpacks it at boot: a cpio archive of the "newc" format
// (Documentation/driver-api/early-userspace/buffer-format.rst).
//
// Everything in it belongs to root and has no time stamp, so the same content is the same bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace vmm {

class Initramfs {
 public:
  // Parents first; paths without a leading slash.
  void add_directory(std::string_view path);
  void add_file(std::string_view path, std::span<const std::byte> content, uint32_t permissions = 0644);
  // The node of a character device.
  void add_device(std::string_view path, uint32_t major, uint32_t minor);
  // The archive; it is complete after this.
  std::vector<std::byte> finish();

 private:
  struct Entry {
    uint32_t mode = 0;  // as in stat(2)
    uint32_t major = 0;
    uint32_t minor = 0;
  };
  void add(std::string_view path, const Entry& entry, std::span<const std::byte> content);
  void pad();

  std::vector<std::byte> archive_;
  uint32_t inodes_ = 0;
};

// vmm's own init for such an initramfs: firmware/guest/init.c.
std::span<const std::byte> guest_init();

}  // namespace vmm
