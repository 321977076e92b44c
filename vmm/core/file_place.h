// FilePlace: where a path leads: a folder that is held open, and a name in it that is no symbolic link.
//
// Links are followed one by one, and only those that the kernel would follow with fs.protected_symlinks on, whatever
// this host has set: in a folder where everybody may write, such as /tmp, a link or a pipe of another user's leads
// nowhere. Later operations name the folder by its descriptor, so that nobody can change their meaning.
#pragma once

#include <string>

#include "vmm/core/fd.h"

namespace vmm {

struct FilePlace {
  // 0, or the errno value of why it leads nowhere.
  static int find(const std::string& path, FilePlace& place);

  UniqueFd folder;   // O_PATH
  std::string name;  // in it
  UniqueFd there;    // O_PATH: what has that name; empty when nothing has
};

}  // namespace vmm
