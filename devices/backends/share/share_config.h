// ShareConfig: what `--share` and `--rootfs` say.
//
//   DIR[:TAG][,ro]
//   vhost-user=SOCKET[:TAG]        a directory that another process serves
//
// A comma in the directory's name is doubled, as for disks; a colon is part of it where a directory
// is called so (DIR/:TAG is then a directory beside it).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace vmm {

struct ShareConfig {
  static constexpr size_t kMaxTag = 36;  // virtio 1.2 §5.11.4

  std::string path;    // of the directory; empty with vhost-user
  std::string socket;  // of a vhost-user back-end; else empty
  std::string tag;     // by which the guest mounts it; empty: not said
  bool read_only = false;

  // Throws Error for what it does not understand. `flag` is the flag whose value the text is.
  static ShareConfig parse(std::string_view flag, std::string_view text);
};

}  // namespace vmm
