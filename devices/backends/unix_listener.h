// A listening Unix socket, as every backend wants it: mode 0600, in the place of one that a dead program left behind,
// and never in the place of a file that is no socket. What is dead is found out, and removed, under the path's lock.
#pragma once

#include <string>
#include <string_view>

#include "devices/backends/disk/path_lock.h"
#include "vmm/core/fd.h"

namespace vmm {

// Non-blocking. `what` is for messages: "console socket". Throws Error. The caller removes the file in the end.
UniqueFd listen_unix(std::string_view what, const std::string& path, int backlog);
// Listens for a caller who holds the lock of that path already.
UniqueFd listen_unix(std::string_view what, const std::string& path, int backlog, const PathLock& lock);

}  // namespace vmm
