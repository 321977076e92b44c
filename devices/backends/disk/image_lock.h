// ImageLock: keeps two machines from writing one image.
//
// QEMU's scheme, so that vmm, QEMU and qemu-img exclude each other. An image has one lock byte for each thing that may
// be done to it, and one for each thing that others must not do:
//
//   byte 100 + p   somebody does p           p: 0 read, 1 write, 3 resize
//   byte 200 + p   somebody forbids p
//
// Everybody takes shared locks on the bytes that describe him, then looks whether anybody locked the opposite of one.
// Readers forbid writing, so they share an image among themselves; a writer is alone. The locks are OFD locks and end
// with the descriptor, however the process ends. The descriptor is the lock's own: one that io_uring has registered
// outlives its process by a moment, and the next start would find the image still in use.
#pragma once

#include <string>

#include "vmm/core/fd.h"

namespace vmm {

class ImageLock {
 public:
  enum class Access { kRead, kWrite };

  // Locks the file that `fd` has open, which `path` names. Throws Error, naming the holder, when somebody else uses it
  // in a way that does not fit. On a filesystem without locks it warns and holds nothing.
  ImageLock(const std::string& path, int fd, Access access);

 private:
  UniqueFd fd_;
};

}  // namespace vmm
