// FuseServer: answers the requests of the FUSE protocol (<linux/fuse.h>, 7.31 and later) over a SharedTree.
//
// Protocol and system calls, nothing else: no threads, no queues. A request is one call of answer(), which may block as
// long as the host's file system does. What kinds of request there are stands in one table (fuse_server.cc), with how
// long an answer is and whether it changes anything: a read-only share refuses all that do. Others are answered with
// ENOSYS, which Linux remembers and then does without (locks between host and guest).
//
// The library that Debian has for this, libfuse3, is written for requests of the host's kernel, which it trusts: it
// reads names and counts without looking where a request ends. Here they come from a guest.
//
// A new file belongs to whoever made it in the guest when vmm is run by root, else to the user who runs vmm. It is
// never set-user-ID or set-group-ID, has no capabilities that the host knows of, and is no device node but an overlay's
// whiteout: what a guest does must not give anybody rights on the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "devices/backends/share/caller.h"
#include "devices/backends/share/fuse_message.h"
#include "devices/backends/share/shared_tree.h"

namespace vmm {

class FuseServer {
 public:
  // The largest transfer in one request.
  static constexpr uint32_t kMaxTransfer = 1 << 20;

  FuseServer(SharedTree tree, bool read_only) : tree_(std::move(tree)), read_only_(read_only) {}

  // Performs one request; returns how much of `reply` was written. Nothing for a request that is none, for one without
  // an answer, and where there is no room for the error.
  size_t answer(std::span<const iovec> request, std::span<const iovec> reply);
  // Forgets what the guest knew and had open.
  void reset() noexcept;

  const SharedTree& tree() const { return tree_; }

 private:
  struct Operation;
  static const Operation kOperations[];
  int perform(FuseMessage& message);

  // The life of a mount.
  void init(FuseMessage& message);
  void destroy(FuseMessage& message);
  void forget(FuseMessage& message);
  void batch_forget(FuseMessage& message);
  void stat_fs(FuseMessage& message);
  void sync_fs(FuseMessage& message);

  // Names: fuse_server.cc.
  void look_up(FuseMessage& message);
  void get_attributes(FuseMessage& message);
  void set_attributes(FuseMessage& message);
  void read_link(FuseMessage& message);
  void make_link(FuseMessage& message);
  void make_symlink(FuseMessage& message);
  void make_node(FuseMessage& message);
  void make_directory(FuseMessage& message);
  void remove_file(FuseMessage& message);
  void remove_directory(FuseMessage& message);
  void rename(FuseMessage& message);
  void rename_with_flags(FuseMessage& message);

  // Contents: fuse_files.cc.
  void open_file(FuseMessage& message);
  void create(FuseMessage& message);
  void open_directory(FuseMessage& message);
  void read(FuseMessage& message);
  void write(FuseMessage& message);
  void read_directory(FuseMessage& message);
  void read_directory_plus(FuseMessage& message);
  void flush(FuseMessage& message);
  void sync(FuseMessage& message);
  void release(FuseMessage& message);
  void seek(FuseMessage& message);
  void allocate(FuseMessage& message);
  void copy_range_of_file(FuseMessage& message);

  // Extended attributes: fuse_xattrs.cc.
  void get_attribute(FuseMessage& message);
  void list_attributes(FuseMessage& message);
  void set_attribute(FuseMessage& message);
  void remove_attribute(FuseMessage& message);

  std::string_view kept_prefix() const;
  std::string kept_name(const std::string& name) const;
  SharedTree::Node& with_attributes(uint64_t id);
  static void put_attribute(FuseMessage& message, std::span<const char> value, uint32_t room);
  void drop_capability(const std::string& path) const;

  SharedTree::Node& writable_directory(uint64_t id);
  void take_rights(const FuseMessage& message, std::optional<Caller>& caller);
  void become_maker(const FuseMessage& message, std::optional<Caller>& caller) const;
  void rename(FuseMessage& message, uint64_t new_directory, uint32_t flags);
  int open_flags(uint32_t flags) const;
  void put_open(FuseMessage& message, SharedTree::Node& node, UniqueFd file);
  fuse_attr attributes_of(const struct stat& file);
  fuse_entry_out entry_of(uint64_t id);
  void put_new_entry(FuseMessage& message, const SharedTree::Node& parent, const std::string& name);
  void change_mode(const SharedTree::Node& node, uint32_t mode) const;
  void change_owner(const SharedTree::Node& node, const fuse_setattr_in& wanted) const;
  void change_times(const SharedTree::Node& node, const fuse_setattr_in& wanted) const;

  SharedTree tree_;
  bool read_only_;
  bool mounted_ = false;
  bool guest_knows_acls_ = false;
};

}  // namespace vmm
