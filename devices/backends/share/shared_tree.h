// SharedTree: a directory of the host as a guest sees it: its files by number, and who owns them.
//
// Every file that the guest knows is held by an O_PATH descriptor, which names the file itself and not a place in a
// path. It was opened from its directory's descriptor by a single name, O_NOFOLLOW; the host follows no symlink, and
// "..", the empty name and names with a slash are never passed on. A directory that somebody moves out of the shared
// tree is noticed before anything is looked for in it, and answered with ESTALE. Files are read and written through
// /proc/self/fd, which reopens the very file; only regular files and directories are, so that no device, FIFO or socket
// of the host is ever opened.
//
// File systems that are a window on the host's kernel (proc, sysfs, ...) are shown as empty directories.
//
// Numbers of files and of handles are never used twice. Both are bounded, since each holds a descriptor. Functions
// throw Refused (fuse_message.h).
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "vmm/core/fd.h"

namespace vmm {

// How owners are translated. An ordinary user's files are the guest's root's, and nothing can be given away; root's
// share is as it is.
struct Ownership {
  static Ownership of_process();

  bool as_is = true;
  uid_t user = 0;  // ours, the guest's 0
  gid_t group = 0;

  uid_t shown_user(uid_t id) const { return !as_is && id == user ? 0 : id; }
  gid_t shown_group(gid_t id) const { return !as_is && id == group ? 0 : id; }
};

class SharedTree {
 public:
  struct Node {
    UniqueFd fd;  // O_PATH
    std::pair<dev_t, ino_t> identity;
    mode_t type = 0;       // S_IFMT of its mode, which never changes
    uint64_t lookups = 0;  // lookups that the guest has not taken back (FUSE_FORGET)
    bool sealed = false;   // the node's file system is not shown to the guest
    // When it was opened last, so that the guest may keep what it has read since then.
    timespec changed{};
    off_t size = -1;

    bool is_directory() const { return S_ISDIR(type); }
  };

  // Throws Error when `path` cannot be shared. `max_files` is how many descriptors there may be for the guest's files;
  // a quarter of that may be open besides.
  SharedTree(const std::string& path, size_t max_files, const Ownership& ownership);

  // Forgets everything but the root. Where that has gone with its file system, it is looked for again at the same place
  // whenever it is asked for, and answered with ESTALE until then.
  void reset() noexcept;

  Node& node(uint64_t id);
  // One that is still in the tree: for whatever changes it or shows what it holds.
  Node& file(uint64_t id);
  // A directory that is still in the tree.
  Node& directory(uint64_t id);
  // The file with this name, counted as known to the guest once more.
  uint64_t look_up(const Node& parent, const std::string& name);
  // The number of a file that is open already, counted as known to the guest once more.
  uint64_t adopt(int fd);
  void forget(uint64_t id, uint64_t lookups);
  size_t known() const { return nodes_.size(); }

  // Opens the file itself, if it is a regular file or a directory.
  UniqueFd open(const Node& node, int flags) const;
  // Takes an open file into the table of handles; and finds it there.
  uint64_t keep(UniqueFd fd);
  int handle(uint64_t id) const;
  // The handle of a directory that is to be listed, and is still in the tree.
  int listing(uint64_t id) const;
  void close(uint64_t id) { handles_.erase(id); }

  // A path that names the file itself.
  static std::string path_of(const Node& node);
  static struct stat status(int fd);
  // The number by which the guest tells files apart: unique also where several file systems are in one tree.
  uint64_t inode_number(dev_t device, ino_t inode);
  const Ownership& ownership() const { return ownership_; }
  int root_fd() const { return readable_root_.get(); }

 private:
  uint64_t take(UniqueFd fd);
  void insert(uint64_t id, UniqueFd fd, const struct stat& file);
  void know_root();
  bool in_tree(int fd) const;

  std::string path_;
  size_t max_files_;
  Ownership ownership_;
  UniqueFd readable_root_;
  long type_ = 0;               // of its file system, by statfs(2)
  std::string place_;           // where the root was when it was shared, without symlinks
  std::vector<dev_t> devices_;  // in the order in which they were met; the root's is the first
  std::unordered_map<uint64_t, Node> nodes_;
  std::map<std::pair<dev_t, ino_t>, uint64_t> numbers_;  // of nodes
  std::unordered_map<uint64_t, UniqueFd> handles_;
  uint64_t next_node_;
  uint64_t next_handle_ = 1;
};

}  // namespace vmm
