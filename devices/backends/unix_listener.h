// A listening Unix socket, as every backend wants it: mode 0600, in the place of one that a dead program left behind,
// and never in the place of a file that is no socket.
#pragma once

#include <string>
#include <string_view>

#include "vmm/core/fd.h"

namespace vmm {

// Non-blocking. `what` is for messages: "console socket". Throws Error. The caller removes the file in the end.
UniqueFd listen_unix(std::string_view what, const std::string& path, int backlog);

}  // namespace vmm
