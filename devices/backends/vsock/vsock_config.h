// VsockConfig: what `--vsock` says.
//
//   PATH[,cid=N]
//
// A comma in the path is doubled, as for disks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vmm {

struct VsockConfig {
  static constexpr uint32_t kDefaultCid = 3;  // the first that is nobody else's (vsock(7))

  std::string path;
  uint32_t cid = kDefaultCid;  // the guest's address

  // Throws Error for what it does not understand.
  static VsockConfig parse(std::string_view text);
};

}  // namespace vmm
