// Where a machine's control socket is: in a folder of the user's own, by the machine's name, or where --ctl says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "devices/backends/disk/path_lock.h"

namespace vmm {

// $XDG_RUNTIME_DIR/vmm, or /tmp/vmm-UID where a login set none.
std::string control_directory();

// The socket of the machine called `name`; a name with a slash is a path itself. Throws Error when no machine can be
// called so.
std::string control_path(std::string_view name);

// The names of those that seem to run, sorted. None in a folder that is another user's, or where others may write.
std::vector<std::string> control_names();

// The right to listen at `path`, which a machine has for as long as it lives. Makes the folder, if that is
// control_directory(). Throws Error when a machine has it, or cannot.
PathLock claim_control_path(const std::string& path);

}  // namespace vmm
