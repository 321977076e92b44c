// ImageFile: a file that may serve as a disk, opened and looked at.
//
// What is no disk (a directory, a FIFO, an empty file, half a sector) is refused by name here. The format is raw,
// always: content is guest-controlled, so it is never probed (CVE-2008-2004). It is only looked at for a warning,
// because somebody who gives a qcow2 image meant something else.
#pragma once

#include <cstdint>
#include <string>

#include "devices/backends/disk/block_backend.h"
#include "vmm/core/fd.h"

namespace vmm {

struct ImageFile {
  enum class Mode { kReadOnly, kReadWrite };
  enum class Cache { kHost, kDirect };  // kDirect: O_DIRECT

  // Throws Error with the reason when it cannot be a disk.
  static ImageFile open(const std::string& path, Mode mode, Cache cache);
  // A sparse file without a name that is gone when it is closed: in $TMPDIR, else beside `neighbour`, else in memory.
  static ImageFile temporary(uint64_t size, const std::string& neighbour);

  std::string path;  // as the user wrote it
  UniqueFd fd;
  uint64_t size = 0;
  Mode mode = Mode::kReadOnly;
  BlockTopology topology;
  // Alignment in bytes of the offset and length, and of the address, of each transfer; 1 unless O_DIRECT.
  uint32_t offset_alignment = 1;
  uint32_t memory_alignment = 1;
};

// The size of an open regular file or block device; nothing grows or shrinks for asking.
uint64_t storage_size(int fd);
// Size of the file as far as the kernel knows it. Never blocks: no file server is asked, which might not answer.
uint64_t known_size(int fd);

}  // namespace vmm
