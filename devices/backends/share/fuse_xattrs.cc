// The operations on extended attributes; see fuse_server.h, and xattr(7).
//
// user.* attributes are the file's own on the host. Those that give rights or are for a kernel alone must not have
// their effect there, or may not be set by us: they are kept under another name, which the guest does not see.
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <string_view>

#include "devices/backends/share/fuse_server.h"

namespace vmm {

namespace {

constexpr std::string_view kCapability = "security.capability";
constexpr std::string_view kAcl = "system.posix_acl_";

}  // namespace

// Root's are where none of the host's other users can write them.
std::string_view FuseServer::kept_prefix() const {
  return tree_.ownership().as_is ? std::string_view("trusted.vmm.") : std::string_view("user.vmm.");
}

// The name of a guest's attribute on the host.
std::string FuseServer::kept_name(const std::string& name) const {
  const std::string_view prefix = kept_prefix();
  const bool as_is = tree_.ownership().as_is;
  if (name.starts_with("system.")) {
    // Users of the guest's are none of the host's, so that an ACL means something to root alone.
    if (as_is && name.starts_with(kAcl)) return name;
    throw Refused{EOPNOTSUPP};
  }
  const bool own = (name.starts_with("user.") || (as_is && name.starts_with("trusted."))) && !name.starts_with(prefix);
  return own ? name : std::string(prefix) + name;
}

SharedTree::Node& FuseServer::with_attributes(uint64_t id) {
  SharedTree::Node& found = tree_.file(id);
  if (found.sealed) throw Refused{EOPNOTSUPP};
  return found;
}

void FuseServer::put_attribute(FuseMessage& message, std::span<const char> value, uint32_t room) {
  if (room == 0) {
    message.put(fuse_getxattr_out{.size = static_cast<uint32_t>(value.size()), .padding = 0});
    return;
  }
  if (value.size() > std::min<size_t>(room, message.room())) throw Refused{ERANGE};
  message.put_bytes(std::as_bytes(value));
}

void FuseServer::get_attribute(FuseMessage& message) {
  const std::string path = SharedTree::path_of(with_attributes(message.header().nodeid));
  const auto wanted = message.take<fuse_getxattr_in>();
  const std::string name = message.take_text();
  std::vector<char> value(XATTR_SIZE_MAX);
  ssize_t size = ::getxattr(path.c_str(), kept_name(name).c_str(), value.data(), value.size());
  // What the host's own programs have is what the guest's have, until it is changed.
  if (size < 0 && name == kCapability) size = ::getxattr(path.c_str(), name.c_str(), value.data(), value.size());
  // For a file without an ACL; the guest's kernel takes anything else for a failure.
  if (size < 0 && errno == EOPNOTSUPP && name.starts_with(kAcl)) errno = ENODATA;
  put_attribute(message, std::span(value).first(static_cast<size_t>(must(size))), wanted.size);
}

void FuseServer::list_attributes(FuseMessage& message) {
  const std::string path = SharedTree::path_of(with_attributes(message.header().nodeid));
  const auto wanted = message.take<fuse_getxattr_in>();
  std::vector<char> names(XATTR_LIST_MAX);
  names.resize(static_cast<size_t>(must(::listxattr(path.c_str(), names.data(), names.size()))));
  std::string seen;
  for (size_t at = 0; at < names.size();) {
    std::string_view name(&names[at]);
    at += name.size() + 1;
    const bool kept = name.starts_with(kept_prefix());
    if (kept) name.remove_prefix(kept_prefix().size());
    const bool shown = kept || name.starts_with("user.") || name == kCapability ||
                       (tree_.ownership().as_is && (name.starts_with("trusted.") || name.starts_with(kAcl)));
    if (shown && seen.find(std::string(name) + '\0') == std::string::npos) seen.append(name) += '\0';
  }
  put_attribute(message, seen, wanted.size);
}

void FuseServer::set_attribute(FuseMessage& message) {
  const std::string path = SharedTree::path_of(with_attributes(message.header().nodeid));
  const auto wanted = message.take<std::array<uint32_t, 2>>();  // size and flags: FUSE_COMPAT_SETXATTR_IN_SIZE
  const std::string name = message.take_text();
  const std::vector<std::byte> value = message.take_rest(wanted[0]);
  must(::setxattr(path.c_str(), kept_name(name).c_str(), value.data(), value.size(), static_cast<int>(wanted[1])));
}

void FuseServer::remove_attribute(FuseMessage& message) {
  const std::string path = SharedTree::path_of(with_attributes(message.header().nodeid));
  const std::string name = message.take_text();
  const bool kept = ::removexattr(path.c_str(), kept_name(name).c_str()) == 0;
  if (kept && name != kCapability) return;
  if (name == kCapability && ::removexattr(path.c_str(), name.c_str()) == 0) return;
  if (!kept) throw Refused{errno};
}

// A program that was changed, or given to somebody else, has no capabilities any more: as the host's kernel does it for
// those that it knows.
void FuseServer::drop_capability(const std::string& path) const {
  ::removexattr(path.c_str(), (std::string(kept_prefix()) + std::string(kCapability)).c_str());
}

}  // namespace vmm
