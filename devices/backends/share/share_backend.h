// ShareBackend: what a virtio-fs device needs of the host: somebody who answers FUSE requests.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>
#include <string>

#include "vmm/core/async.h"

namespace vmm {

class ShareBackend {
 public:
  ShareBackend() = default;
  ShareBackend(const ShareBackend&) = delete;
  ShareBackend& operator=(const ShareBackend&) = delete;
  virtual ~ShareBackend() = default;

  // The name by which the guest mounts it.
  virtual const std::string& tag() const = 0;
  // "DIR (ro)", for people.
  virtual std::string describe() const = 0;

  // Performs one request; how many bytes of `reply` were written. Both lists, and what they name, stay until then.
  virtual Task<size_t> answer(std::span<const iovec> request, std::span<const iovec> reply) = 0;
  // The guest forgets everything: so is everything that it knew and had open here. No request is under way.
  virtual void reset() = 0;
};

}  // namespace vmm
