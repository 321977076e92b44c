// Where a machine's control socket is: in a folder of the user's own, by the machine's name, or where --ctl says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vmm/core/fd.h"

namespace vmm {

// $XDG_RUNTIME_DIR/vmm, or /tmp/vmm-UID where a login set none.
std::string control_directory();

// The socket of the machine called `name`; a name with a slash is a path itself. Throws Error when no machine can be
// called so.
std::string control_path(std::string_view name);

// The names of those that seem to run, sorted.
std::vector<std::string> control_names();

// The right to listen at a path, for as long as it lives: two machines cannot both find a dead socket there and remove
// it. It is a lock on PATH.lock.
class ControlClaim {
 public:
  // Makes the folder, if the path is in control_directory(). Throws Error when a machine listens there, or cannot.
  explicit ControlClaim(const std::string& path);
  ControlClaim(const ControlClaim&) = delete;
  ControlClaim& operator=(const ControlClaim&) = delete;
  ~ControlClaim();

 private:
  std::string path_;
  UniqueFd lock_;
};

}  // namespace vmm
