// The words of --vsock, taken apart; see vsock_config.h.
#include "devices/backends/vsock/vsock_config.h"

#include <fmt/core.h>
#include <sys/socket.h>
// It needs what <sys/socket.h> defines.
#include <linux/vm_sockets.h>

#include <charconv>
#include <vector>

#include "devices/backends/option_list.h"
#include "vmm/core/error.h"

namespace vmm {

VsockConfig VsockConfig::parse(std::string_view text) {
  const std::vector<std::string> parts = split_options(text);
  VsockConfig config;
  config.path = parts.front();
  if (config.path.empty()) throw Error("--vsock: no path given", "--vsock PATH[,cid=N]");
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::string& option = parts[i];
    if (!option.starts_with("cid=")) {
      throw Error(fmt::format("--vsock: '{}': unknown option", option), "cid=N; a comma in the path is doubled");
    }
    const char* end = option.data() + option.size();
    const auto [stop, error] = std::from_chars(option.data() + 4, end, config.cid);
    // 0 to 2 are the hypervisor, loopback and the host.
    if (error != std::errc() || stop != end || config.cid <= VMADDR_CID_HOST || config.cid == VMADDR_CID_ANY) {
      throw Error(fmt::format("--vsock: '{}' is no address of a guest: those are 3 to 4294967294", option), "cid=3");
    }
  }
  return config;
}

}  // namespace vmm
