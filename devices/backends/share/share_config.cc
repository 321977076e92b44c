// The words of --share and --rootfs, taken apart; see share_config.h.
#include "devices/backends/share/share_config.h"

#include <fmt/core.h>

#include <filesystem>
#include <system_error>

#include "vmm/core/error.h"

namespace vmm {

namespace {

// Takes ",ro" and the like off the end: what stands behind the last single comma.
bool take_option(std::string_view& text, std::string_view& option) {
  for (size_t at = text.size(); at-- > 0;) {
    if (text[at] != ',') continue;
    if (at > 0 && text[at - 1] == ',') {
      --at;
      continue;
    }
    option = text.substr(at + 1);
    text = text.substr(0, at);
    return true;
  }
  return false;
}

std::string single_commas(std::string_view text) {
  std::string result;
  for (size_t at = 0; at < text.size(); ++at) {
    result += text[at];
    if (text.substr(at, 2) == ",,") ++at;
  }
  return result;
}

}  // namespace

ShareConfig ShareConfig::parse(std::string_view flag, std::string_view text) {
  ShareConfig config;
  for (std::string_view option; take_option(text, option);) {
    if (option != "ro") {
      throw Error(fmt::format("{}: '{}': unknown option", flag, option),
                  "ro; a comma in the directory's name is doubled");
    }
    config.read_only = true;
  }
  // What is a directory as a whole is meant as such; with a slash before the colon it is DIR and TAG all the same.
  std::error_code unknown;
  const bool whole = std::filesystem::is_directory(single_commas(text), unknown);
  const size_t colon = whole ? text.npos : text.rfind(':');
  if (colon != text.npos) {
    config.tag = text.substr(colon + 1);
    text = text.substr(0, colon);
    // On the kernel's command line and in fstab it is one word; a slash would look like a path.
    if (config.tag.empty() || config.tag.size() > kMaxTag ||
        config.tag.find_first_of(" \t\n\"/,") != std::string::npos) {
      throw Error(fmt::format("{}: '{}' is no tag: it is one word of at most {} bytes", flag, config.tag, kMaxTag),
                  fmt::format("{} DIR:TAG", flag));
    }
  }
  constexpr std::string_view kSocket = "vhost-user=";
  if (text.starts_with(kSocket)) {
    config.socket = single_commas(text.substr(kSocket.size()));
    if (config.read_only) {
      throw Error(fmt::format("{}: 'ro': of a vhost-user directory the back-end decides what may be written", flag),
                  "tell the back-end, or mount it read-only");
    }
    if (config.socket.empty()) {
      throw Error(fmt::format("{}: no socket given", flag), fmt::format("{} vhost-user=SOCKET[:TAG]", flag));
    }
    return config;
  }
  config.path = single_commas(text);
  if (config.path.empty()) throw Error(fmt::format("{}: no directory given", flag), fmt::format("{} DIR[,ro]", flag));
  return config;
}

}  // namespace vmm
