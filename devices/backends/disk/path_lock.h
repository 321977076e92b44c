// PathLock: the right to make and to remove the socket at a path. Two programs that find a dead one there would else
// both remove it, and the later one what the other has just made.
//
// It is a lock on the file PATH.lock, which is made for it and removed with it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "vmm/core/fd.h"

namespace vmm {

class PathLock {
 public:
  // Nothing while somebody else has it. `what` is for messages: "console socket". Throws Error when the file cannot be
  // made, or is somebody's.
  static std::optional<PathLock> try_take(std::string_view what, const std::string& path);
  // Waits for who has it, who is about to listen, but not for long. Not for use on a loop. Throws Error.
  static PathLock take(std::string_view what, const std::string& path);

  PathLock(PathLock&&) noexcept = default;
  PathLock& operator=(PathLock&&) = delete;
  ~PathLock();

 private:
  PathLock(std::string file, UniqueFd lock) : file_(std::move(file)), lock_(std::move(lock)) {}

  std::string file_;
  UniqueFd lock_;
};

}  // namespace vmm
