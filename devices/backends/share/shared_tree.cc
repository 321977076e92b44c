// Opening, counting and forgetting; see shared_tree.h.
#include "devices/backends/share/shared_tree.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/fuse.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <optional>

#include "devices/backends/share/fuse_message.h"
#include "vmm/core/error.h"

namespace vmm {

namespace {

// Types that <linux/magic.h> leaves to the file systems' own sources.
constexpr long kConfigfs = 0x62656570, kFuseControl = 0x65735543, kMqueue = 0x19800202, kBinfmtMisc = 0x42494e4d,
               kRpcPipefs = 0x67596969, kFunctionfs = 0x0a647361, kGadgetfs = 0xaee71ee7, kNfsd = 0x6e667364;

long file_system_type(int fd) {
  struct statfs status {};
  must(::fstatfs(fd, &status));
  return status.f_type;
}

// What such a file says or does is the host kernel's affair, and may give a guest power over it, or over vmm itself
// (/proc/PID/mem).
bool is_kernel_window(long type) {
  constexpr auto kTypes = std::to_array<long>({
      PROC_SUPER_MAGIC,
      SYSFS_MAGIC,
      DEBUGFS_MAGIC,
      TRACEFS_MAGIC,
      SECURITYFS_MAGIC,
      SELINUX_MAGIC,
      SMACK_MAGIC,
      CGROUP_SUPER_MAGIC,
      CGROUP2_SUPER_MAGIC,
      DEVPTS_SUPER_MAGIC,
      BPF_FS_MAGIC,
      PSTOREFS_MAGIC,
      EFIVARFS_MAGIC,
      BINDERFS_SUPER_MAGIC,
      NSFS_MAGIC,
      RDTGROUP_SUPER_MAGIC,
      XENFS_SUPER_MAGIC,
      AAFS_MAGIC,
      kConfigfs,
      kFuseControl,
      kMqueue,
      kBinfmtMisc,
      kRpcPipefs,
      kFunctionfs,
      kGadgetfs,
      kNfsd,
  });
  return std::ranges::find(kTypes, type) != kTypes.end();
}

std::optional<std::string> place_of(int fd) {
  std::array<char, PATH_MAX> text;
  const ssize_t length = ::readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), text.data(), text.size());
  if (length < 0 || static_cast<size_t>(length) == text.size()) return std::nullopt;
  return std::string(text.data(), static_cast<size_t>(length));
}

}  // namespace

Ownership Ownership::of_process() { return {.as_is = ::geteuid() == 0, .user = ::geteuid(), .group = ::getegid()}; }

SharedTree::SharedTree(const std::string& path, size_t max_files, const Ownership& ownership)
    : path_(path),
      max_files_(max_files),
      ownership_(ownership),
      readable_root_(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
      next_node_(FUSE_ROOT_ID + 1) {
  try {
    must(readable_root_.get());
    type_ = file_system_type(readable_root_.get());
    if (is_kernel_window(type_)) {
      throw Error(fmt::format("cannot share '{}': it is no directory of files, but the host kernel's own", path));
    }
    const auto place = place_of(readable_root_.get());
    if (!place)
      throw Error(fmt::format("cannot share '{}': /proc is not mounted here", path), "mount -t proc proc /proc");
    place_ = *place;
    know_root();
  } catch (const Refused& refused) {
    throw Error(
        fmt::format("cannot share '{}': {}", path, errno_text(refused.error)),
        refused.error == ENOTDIR ? "share the directory that the file is in" : "share a directory that can be read");
  }
}

void SharedTree::reset() noexcept {
  handles_.clear();
  nodes_.clear();
  numbers_.clear();
  try {
    know_root();
  } catch (const Refused&) {
    // Its file system has gone, or there is no descriptor for the moment: node() tries again.
  }
}

void SharedTree::know_root() {
  struct stat file {};
  if (::fstat(readable_root_.get(), &file) != 0) {
    // Whoever can write in the folders above must not lead elsewhere, so no symlink is followed on the way.
    const open_how how{.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .mode = 0, .resolve = RESOLVE_NO_SYMLINKS};
    UniqueFd again(static_cast<int>(must(::syscall(SYS_openat2, AT_FDCWD, place_.c_str(), &how, sizeof how))));
    file = status(again.get());
    // Not the bare folder that it was mounted on.
    if (file_system_type(again.get()) != type_) throw Refused{ESTALE};
    readable_root_ = std::move(again);
  }
  UniqueFd root(must(::open(fmt::format("/proc/self/fd/{}", readable_root_.get()).c_str(), O_PATH | O_CLOEXEC)));
  insert(FUSE_ROOT_ID, std::move(root), file);
}

SharedTree::Node& SharedTree::node(uint64_t id) {
  auto found = nodes_.find(id);
  if (found == nodes_.end() && id == FUSE_ROOT_ID) {
    try {
      know_root();
    } catch (const Refused&) {
      throw Refused{ESTALE};
    }
    found = nodes_.find(id);
  }
  if (found == nodes_.end()) throw Refused{ESTALE};
  return found->second;
}

SharedTree::Node& SharedTree::file(uint64_t id) {
  Node& found = node(id);
  if (!in_tree(found.fd.get())) throw Refused{ESTALE};
  return found;
}

SharedTree::Node& SharedTree::directory(uint64_t id) {
  Node& found = file(id);
  if (!found.is_directory()) throw Refused{ENOTDIR};
  return found;
}

// Where the file is now, as the kernel knows it, begins with where the root is now.
bool SharedTree::in_tree(int fd) const {
  const auto root = place_of(readable_root_.get());
  if (!root) return false;
  if (*root == "/") return true;
  const auto place = place_of(fd);
  return place && place->starts_with(*root) && (place->size() == root->size() || (*place)[root->size()] == '/');
}

uint64_t SharedTree::look_up(const Node& parent, const std::string& name) {
  if (parent.sealed) throw Refused{ENOENT};
  return take(UniqueFd(must(::openat(parent.fd.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC))));
}

uint64_t SharedTree::adopt(int fd) {
  return take(UniqueFd(must(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_PATH | O_CLOEXEC))));
}

uint64_t SharedTree::take(UniqueFd fd) {
  const struct stat file = status(fd.get());
  const std::pair identity{file.st_dev, file.st_ino};
  const auto found = numbers_.find(identity);
  if (found != numbers_.end()) {
    Node& known = nodes_.at(found->second);
    ++known.lookups;
    known.fd = std::move(fd);  // of several links, the one in use
    return found->second;
  }
  if (nodes_.size() >= max_files_) throw Refused{ENFILE};
  insert(next_node_, std::move(fd), file);
  return next_node_++;
}

void SharedTree::insert(uint64_t id, UniqueFd fd, const struct stat& file) {
  // Asked of each file anew: the host gives the number of a file system that has gone to the next one.
  const bool sealed = is_kernel_window(file_system_type(fd.get()));
  if (std::ranges::find(devices_, file.st_dev) == devices_.end()) devices_.push_back(file.st_dev);
  const std::pair identity{file.st_dev, file.st_ino};
  nodes_.emplace(
      id,
      Node{.fd = std::move(fd), .identity = identity, .type = file.st_mode & S_IFMT, .lookups = 1, .sealed = sealed});
  numbers_.emplace(identity, id);
}

void SharedTree::forget(uint64_t id, uint64_t lookups) {
  const auto found = nodes_.find(id);
  if (found == nodes_.end() || id == FUSE_ROOT_ID) return;
  Node& known = found->second;
  known.lookups -= std::min(known.lookups, lookups);
  if (known.lookups > 0) return;
  numbers_.erase(known.identity);
  nodes_.erase(found);
}

UniqueFd SharedTree::open(const Node& node, int flags) const {
  if (node.sealed) throw Refused{EACCES};
  if (!S_ISREG(node.type) && !node.is_directory()) throw Refused{node.type == S_IFLNK ? ELOOP : ENXIO};
  // It neither waits, nor does it give us a terminal.
  return UniqueFd(must(::open(path_of(node).c_str(), flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)));
}

uint64_t SharedTree::keep(UniqueFd fd) {
  if (handles_.size() >= max_files_ / 4) throw Refused{ENFILE};
  const uint64_t id = next_handle_++;
  handles_.emplace(id, std::move(fd));
  return id;
}

int SharedTree::handle(uint64_t id) const {
  const auto found = handles_.find(id);
  if (found == handles_.end()) throw Refused{EBADF};
  return found->second.get();
}

int SharedTree::listing(uint64_t id) const {
  const int found = handle(id);
  if (!in_tree(found)) throw Refused{ESTALE};
  return found;
}

std::string SharedTree::path_of(const Node& node) { return fmt::format("/proc/self/fd/{}", node.fd.get()); }

struct stat SharedTree::status(int fd) {
  struct stat file {};
  must(::fstatat(fd, "", &file, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
  return file;
}

// The root's file system keeps its numbers; no other uses so many of its own that the upper bits are taken.
uint64_t SharedTree::inode_number(dev_t device, ino_t inode) {
  const auto found = std::ranges::find(devices_, device);
  return inode ^ static_cast<uint64_t>(found - devices_.begin()) << 48;
}

}  // namespace vmm
