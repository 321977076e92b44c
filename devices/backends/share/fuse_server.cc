// The table of operations, and those on names and attributes; see fuse_server.h.
#include "devices/backends/share/fuse_server.h"

#include <fcntl.h>
#include <linux/xattr.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>

namespace vmm {

namespace {

// How long the guest may believe what it was told about a file that the host may change.
constexpr uint64_t kValidSeconds = 1;
constexpr uint32_t kOldestMinor = 31;  // that virtio-fs drivers ever spoke (Linux 5.4)
constexpr mode_t kPermissions = S_ISVTX | S_IRWXU | S_IRWXG | S_IRWXO;

// A set-group-ID directory hands its group on, which gives nobody a right.
mode_t safe_mode(uint32_t mode, bool directory) { return mode & (directory ? kPermissions | S_ISGID : kPermissions); }

}  // namespace

struct FuseServer::Operation {
  enum class Effect { kReads, kWrites };

  uint32_t opcode;
  Effect effect;
  ssize_t reply;  // the bytes of body that there must be room for; kNone: it is not answered at all
  void (FuseServer::*perform)(FuseMessage&);

  static constexpr ssize_t kNone = -1;
};

constexpr FuseServer::Operation FuseServer::kOperations[] = {
    {FUSE_INIT, Operation::Effect::kReads, sizeof(fuse_init_out), &FuseServer::init},
    {FUSE_DESTROY, Operation::Effect::kReads, 0, &FuseServer::destroy},
    {FUSE_FORGET, Operation::Effect::kReads, Operation::kNone, &FuseServer::forget},
    {FUSE_BATCH_FORGET, Operation::Effect::kReads, Operation::kNone, &FuseServer::batch_forget},
    {FUSE_STATFS, Operation::Effect::kReads, sizeof(fuse_statfs_out), &FuseServer::stat_fs},
    {FUSE_SYNCFS, Operation::Effect::kReads, 0, &FuseServer::sync_fs},
    {FUSE_LOOKUP, Operation::Effect::kReads, sizeof(fuse_entry_out), &FuseServer::look_up},
    {FUSE_GETATTR, Operation::Effect::kReads, sizeof(fuse_attr_out), &FuseServer::get_attributes},
    {FUSE_SETATTR, Operation::Effect::kWrites, sizeof(fuse_attr_out), &FuseServer::set_attributes},
    {FUSE_READLINK, Operation::Effect::kReads, 1, &FuseServer::read_link},
    {FUSE_LINK, Operation::Effect::kWrites, sizeof(fuse_entry_out), &FuseServer::make_link},
    {FUSE_SYMLINK, Operation::Effect::kWrites, sizeof(fuse_entry_out), &FuseServer::make_symlink},
    {FUSE_MKNOD, Operation::Effect::kWrites, sizeof(fuse_entry_out), &FuseServer::make_node},
    {FUSE_MKDIR, Operation::Effect::kWrites, sizeof(fuse_entry_out), &FuseServer::make_directory},
    {FUSE_UNLINK, Operation::Effect::kWrites, 0, &FuseServer::remove_file},
    {FUSE_RMDIR, Operation::Effect::kWrites, 0, &FuseServer::remove_directory},
    {FUSE_RENAME, Operation::Effect::kWrites, 0, &FuseServer::rename},
    {FUSE_RENAME2, Operation::Effect::kWrites, 0, &FuseServer::rename_with_flags},
    {FUSE_OPEN, Operation::Effect::kReads, sizeof(fuse_open_out), &FuseServer::open_file},
    {FUSE_CREATE, Operation::Effect::kWrites, sizeof(fuse_entry_out) + sizeof(fuse_open_out), &FuseServer::create},
    {FUSE_OPENDIR, Operation::Effect::kReads, sizeof(fuse_open_out), &FuseServer::open_directory},
    {FUSE_READ, Operation::Effect::kReads, 0, &FuseServer::read},
    {FUSE_WRITE, Operation::Effect::kWrites, sizeof(fuse_write_out), &FuseServer::write},
    {FUSE_READDIR, Operation::Effect::kReads, 0, &FuseServer::read_directory},
    {FUSE_READDIRPLUS, Operation::Effect::kReads, 0, &FuseServer::read_directory_plus},
    {FUSE_FLUSH, Operation::Effect::kReads, 0, &FuseServer::flush},
    {FUSE_FSYNC, Operation::Effect::kReads, 0, &FuseServer::sync},
    {FUSE_FSYNCDIR, Operation::Effect::kReads, 0, &FuseServer::sync},
    {FUSE_RELEASE, Operation::Effect::kReads, 0, &FuseServer::release},
    {FUSE_RELEASEDIR, Operation::Effect::kReads, 0, &FuseServer::release},
    {FUSE_GETXATTR, Operation::Effect::kReads, 0, &FuseServer::get_attribute},
    {FUSE_LISTXATTR, Operation::Effect::kReads, 0, &FuseServer::list_attributes},
    {FUSE_SETXATTR, Operation::Effect::kWrites, 0, &FuseServer::set_attribute},
    {FUSE_REMOVEXATTR, Operation::Effect::kWrites, 0, &FuseServer::remove_attribute},
    {FUSE_LSEEK, Operation::Effect::kReads, sizeof(fuse_lseek_out), &FuseServer::seek},
    {FUSE_FALLOCATE, Operation::Effect::kWrites, 0, &FuseServer::allocate},
    {FUSE_COPY_FILE_RANGE, Operation::Effect::kWrites, sizeof(fuse_write_out), &FuseServer::copy_range_of_file},
};

size_t FuseServer::answer(std::span<const iovec> request, std::span<const iovec> reply) {
  FuseMessage message(request, reply);
  if (!message.well_formed()) return 0;
  static thread_local const bool dropped = [] { return drop_set_id_capability(), true; }();
  static_cast<void>(dropped);
  const int error = perform(message);
  return error == Operation::kNone ? 0 : message.finish(error);
}

int FuseServer::perform(FuseMessage& message) {
  const auto* const operation = std::ranges::find(kOperations, message.header().opcode, &Operation::opcode);
  const bool answered = operation == std::end(kOperations) || operation->reply != Operation::kNone;
  int error = 0;
  if (operation == std::end(kOperations)) {
    error = ENOSYS;
  } else if (!mounted_ && operation->opcode != FUSE_INIT) {
    error = EIO;
  } else if (read_only_ && operation->effect == Operation::Effect::kWrites) {
    error = EROFS;
  } else if (answered && message.room() < static_cast<size_t>(operation->reply)) {
    error = EINVAL;  // before anything is done that could not be told
  } else {
    try {
      std::optional<Caller> caller;
      take_rights(message, caller);
      (this->*operation->perform)(message);
    } catch (const Refused& refused) {
      error = refused.error;
    }
  }
  return answered ? error : static_cast<int>(Operation::kNone);
}

// The guest's kernel decides who may do what, and knows ACLs when it says so. Where it does not, a file that has one is
// reached with no more rights than its user has by his ids.
void FuseServer::take_rights(const FuseMessage& message, std::optional<Caller>& caller) {
  const fuse_in_header& header = message.header();
  constexpr auto kByName =
      std::to_array<uint32_t>({FUSE_LOOKUP, FUSE_OPEN, FUSE_OPENDIR, FUSE_CREATE, FUSE_SETATTR, FUSE_MKDIR, FUSE_MKNOD,
                               FUSE_SYMLINK, FUSE_LINK, FUSE_UNLINK, FUSE_RMDIR, FUSE_RENAME, FUSE_RENAME2});
  if (guest_knows_acls_ || !tree_.ownership().as_is || header.uid == 0) return;
  if (std::ranges::find(kByName, header.opcode) == kByName.end()) return;
  const std::string path = SharedTree::path_of(tree_.node(header.nodeid));
  if (::getxattr(path.c_str(), XATTR_NAME_POSIX_ACL_ACCESS, nullptr, 0) <= 0) return;
  caller.emplace(header.uid, header.gid, Caller::Rights::kHisOwn);
}

// Who makes a file, whether or not take_rights() has made us him.
void FuseServer::become_maker(const FuseMessage& message, std::optional<Caller>& caller) const {
  const fuse_in_header& header = message.header();
  if (!tree_.ownership().as_is || (header.uid == 0 && header.gid == 0)) return;
  const bool is_he = ::setfsuid(static_cast<uid_t>(-1)) != 0;
  if (!is_he) caller.emplace(header.uid, header.gid, Caller::Rights::kChecked);
}

void FuseServer::reset() noexcept {
  mounted_ = false;
  tree_.reset();
}

// ---- the life of a mount

void FuseServer::init(FuseMessage& message) {
  constexpr uint32_t kWanted = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_AUTO_INVAL_DATA |
                               FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS |
                               FUSE_MAX_PAGES | FUSE_HANDLE_KILLPRIV_V2;
  constexpr uint32_t kAcls = FUSE_POSIX_ACL | FUSE_DONT_MASK;
  const auto theirs = message.take<fuse_init_in>(offsetof(fuse_init_in, flags2));
  if (theirs.major < FUSE_KERNEL_VERSION || (theirs.major == FUSE_KERNEL_VERSION && theirs.minor < kOldestMinor)) {
    throw Refused{EPROTO};
  }
  reset();
  // A later version asks again, in ours.
  mounted_ = theirs.major == FUSE_KERNEL_VERSION;
  guest_knows_acls_ = tree_.ownership().as_is && (theirs.flags & kAcls) == kAcls;
  message.put(fuse_init_out{.major = FUSE_KERNEL_VERSION,
                            .minor = FUSE_KERNEL_MINOR_VERSION,
                            .max_readahead = theirs.max_readahead,
                            .flags = (theirs.flags & kWanted) | (guest_knows_acls_ ? kAcls : 0),
                            .max_write = kMaxTransfer,
                            .time_gran = 1,
                            .max_pages = kMaxTransfer / 4096});
}

void FuseServer::destroy(FuseMessage&) { reset(); }

void FuseServer::forget(FuseMessage& message) {
  tree_.forget(message.header().nodeid, message.take<fuse_forget_in>().nlookup);
}

void FuseServer::batch_forget(FuseMessage& message) {
  const auto batch = message.take<fuse_batch_forget_in>();
  for (uint32_t i = 0; i < batch.count; ++i) {
    const auto one = message.take<fuse_forget_one>();  // Refused where the request ends
    tree_.forget(one.nodeid, one.nlookup);
  }
}

void FuseServer::stat_fs(FuseMessage& message) {
  struct statfs status {};
  must(::fstatfs(tree_.node(message.header().nodeid).fd.get(), &status));
  message.put(fuse_statfs_out{.st = {.blocks = status.f_blocks,
                                     .bfree = status.f_bfree,
                                     .bavail = status.f_bavail,
                                     .files = status.f_files,
                                     .ffree = status.f_ffree,
                                     .bsize = static_cast<uint32_t>(status.f_bsize),
                                     .namelen = static_cast<uint32_t>(status.f_namelen),
                                     .frsize = static_cast<uint32_t>(status.f_frsize)}});
}

void FuseServer::sync_fs(FuseMessage&) {
  if (!read_only_) must(::syncfs(tree_.root_fd()));
}

// ---- attributes

fuse_attr FuseServer::attributes_of(const struct stat& file) {
  return {.ino = tree_.inode_number(file.st_dev, file.st_ino),
          .size = static_cast<uint64_t>(file.st_size),
          .blocks = static_cast<uint64_t>(file.st_blocks),
          .atime = static_cast<uint64_t>(file.st_atim.tv_sec),
          .mtime = static_cast<uint64_t>(file.st_mtim.tv_sec),
          .ctime = static_cast<uint64_t>(file.st_ctim.tv_sec),
          .atimensec = static_cast<uint32_t>(file.st_atim.tv_nsec),
          .mtimensec = static_cast<uint32_t>(file.st_mtim.tv_nsec),
          .ctimensec = static_cast<uint32_t>(file.st_ctim.tv_nsec),
          .mode = file.st_mode,
          .nlink = static_cast<uint32_t>(file.st_nlink),
          .uid = tree_.ownership().shown_user(file.st_uid),
          .gid = tree_.ownership().shown_group(file.st_gid),
          .rdev = static_cast<uint32_t>(file.st_rdev),
          .blksize = static_cast<uint32_t>(file.st_blksize)};
}

fuse_entry_out FuseServer::entry_of(uint64_t id) {
  return {.nodeid = id,
          .entry_valid = kValidSeconds,
          .attr_valid = kValidSeconds,
          .attr = attributes_of(SharedTree::status(tree_.node(id).fd.get()))};
}

void FuseServer::get_attributes(FuseMessage& message) {
  const SharedTree::Node& node = tree_.node(message.header().nodeid);
  message.put(fuse_attr_out{.attr_valid = kValidSeconds, .attr = attributes_of(SharedTree::status(node.fd.get()))});
}

void FuseServer::set_attributes(FuseMessage& message) {
  const SharedTree::Node& node = tree_.file(message.header().nodeid);
  if (node.sealed) throw Refused{EACCES};
  const auto wanted = message.take<fuse_setattr_in>();
  if ((wanted.valid & FATTR_MODE) != 0) change_mode(node, wanted.mode);
  if ((wanted.valid & (FATTR_UID | FATTR_GID)) != 0) change_owner(node, wanted);
  if ((wanted.valid & FATTR_SIZE) != 0) {
    if (!S_ISREG(node.type)) throw Refused{node.is_directory() ? EISDIR : EINVAL};
    const bool is_open = (wanted.valid & FATTR_FH) != 0;
    const UniqueFd own = is_open ? UniqueFd() : tree_.open(node, O_WRONLY);
    must(::ftruncate(is_open ? tree_.handle(wanted.fh) : own.get(), static_cast<off_t>(wanted.size)));
    drop_capability(SharedTree::path_of(node));
  }
  if ((wanted.valid & (FATTR_ATIME | FATTR_MTIME)) != 0) change_times(node, wanted);
  get_attributes(message);
}

void FuseServer::change_mode(const SharedTree::Node& node, uint32_t mode) const {
  const mode_t safe = safe_mode(mode, node.is_directory());
  std::optional<Caller> member;  // of the group that the directory is to hand on
  if ((safe & S_ISGID) != 0 && tree_.ownership().as_is) {
    const struct stat file = SharedTree::status(node.fd.get());
    member.emplace(0, file.st_gid, Caller::Rights::kChecked);
  }
  must(::chmod(SharedTree::path_of(node).c_str(), safe));
}

// An ordinary user gives nothing away: what is its own stays the guest's root's, whatever the guest calls it.
void FuseServer::change_owner(const SharedTree::Node& node, const fuse_setattr_in& wanted) const {
  const bool user = (wanted.valid & FATTR_UID) != 0, group = (wanted.valid & FATTR_GID) != 0;
  const Ownership& ownership = tree_.ownership();
  if (ownership.as_is) {
    must(::fchownat(node.fd.get(), "", user ? wanted.uid : static_cast<uid_t>(-1),
                    group ? wanted.gid : static_cast<gid_t>(-1), AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
    drop_capability(SharedTree::path_of(node));
    return;
  }
  const struct stat file = SharedTree::status(node.fd.get());
  if (user && wanted.uid != ownership.shown_user(file.st_uid)) throw Refused{EPERM};
  if (group && wanted.gid != ownership.shown_group(file.st_gid)) throw Refused{EPERM};
}

void FuseServer::change_times(const SharedTree::Node& node, const fuse_setattr_in& wanted) const {
  const auto time = [&](uint32_t set, uint32_t now, uint64_t seconds, uint32_t nanoseconds) {
    if ((wanted.valid & set) == 0) return timespec{.tv_sec = 0, .tv_nsec = UTIME_OMIT};
    if ((wanted.valid & now) != 0) return timespec{.tv_sec = 0, .tv_nsec = UTIME_NOW};
    if (nanoseconds >= 1'000'000'000) throw Refused{EINVAL};
    return timespec{.tv_sec = static_cast<time_t>(seconds), .tv_nsec = nanoseconds};
  };
  const std::array times{time(FATTR_ATIME, FATTR_ATIME_NOW, wanted.atime, wanted.atimensec),
                         time(FATTR_MTIME, FATTR_MTIME_NOW, wanted.mtime, wanted.mtimensec)};
  must(::utimensat(AT_FDCWD, SharedTree::path_of(node).c_str(), times.data(), 0));
}

// ---- names

void FuseServer::look_up(FuseMessage& message) {
  const SharedTree::Node& parent = tree_.directory(message.header().nodeid);
  message.put(entry_of(tree_.look_up(parent, message.take_name())));
}

void FuseServer::read_link(FuseMessage& message) {
  const SharedTree::Node& node = tree_.file(message.header().nodeid);
  if (node.type != S_IFLNK || node.sealed) throw Refused{EINVAL};
  std::array<char, PATH_MAX> target;
  const auto length = must(::readlinkat(node.fd.get(), "", target.data(), std::min(target.size(), message.room())));
  message.put_bytes(std::as_bytes(std::span(target).first(static_cast<size_t>(length))));
}

SharedTree::Node& FuseServer::writable_directory(uint64_t id) {
  SharedTree::Node& found = tree_.directory(id);
  if (found.sealed) throw Refused{EACCES};
  return found;
}

void FuseServer::put_new_entry(FuseMessage& message, const SharedTree::Node& parent, const std::string& name) {
  const uint64_t id = tree_.look_up(parent, name);
  try {
    message.put(entry_of(id));
  } catch (const Refused&) {
    tree_.forget(id, 1);  // the guest never hears of it
    throw;
  }
}

void FuseServer::make_link(FuseMessage& message) {
  const SharedTree::Node& parent = writable_directory(message.header().nodeid);
  const SharedTree::Node& file = tree_.file(message.take<fuse_link_in>().oldnodeid);
  const std::string name = message.take_name();
  if (file.sealed) throw Refused{EACCES};
  must(::linkat(AT_FDCWD, SharedTree::path_of(file).c_str(), parent.fd.get(), name.c_str(), AT_SYMLINK_FOLLOW));
  message.put(entry_of(tree_.look_up(parent, name)));
}

void FuseServer::make_symlink(FuseMessage& message) {
  const SharedTree::Node& parent = writable_directory(message.header().nodeid);
  const std::string name = message.take_name();
  const std::string target = message.take_text();
  std::optional<Caller> maker;
  become_maker(message, maker);
  must(::symlinkat(target.c_str(), parent.fd.get(), name.c_str()));
  put_new_entry(message, parent, name);
}

void FuseServer::make_node(FuseMessage& message) {
  const SharedTree::Node& parent = writable_directory(message.header().nodeid);
  const auto wanted = message.take<fuse_mknod_in>();
  const std::string name = message.take_name();
  const mode_t type = wanted.mode & S_IFMT;
  // An overlay's mark of what was removed is harmless: the kernel lets anybody make it.
  const bool whiteout = type == S_IFCHR && wanted.rdev == 0;
  if (type != S_IFREG && type != S_IFIFO && type != S_IFSOCK && !whiteout) throw Refused{EPERM};
  std::optional<Caller> maker;
  become_maker(message, maker);
  const Umask mask(guest_knows_acls_ ? wanted.umask : 0);
  must(::mknodat(parent.fd.get(), name.c_str(), type | safe_mode(wanted.mode, false), 0));
  put_new_entry(message, parent, name);
}

void FuseServer::make_directory(FuseMessage& message) {
  const SharedTree::Node& parent = writable_directory(message.header().nodeid);
  const auto wanted = message.take<fuse_mkdir_in>();
  const std::string name = message.take_name();
  std::optional<Caller> maker;
  become_maker(message, maker);
  const Umask mask(guest_knows_acls_ ? wanted.umask : 0);
  must(::mkdirat(parent.fd.get(), name.c_str(), safe_mode(wanted.mode, true)));
  put_new_entry(message, parent, name);
}

void FuseServer::remove_file(FuseMessage& message) {
  const SharedTree::Node& parent = writable_directory(message.header().nodeid);
  must(::unlinkat(parent.fd.get(), message.take_name().c_str(), 0));
}

void FuseServer::remove_directory(FuseMessage& message) {
  const SharedTree::Node& parent = writable_directory(message.header().nodeid);
  must(::unlinkat(parent.fd.get(), message.take_name().c_str(), AT_REMOVEDIR));
}

void FuseServer::rename(FuseMessage& message) { rename(message, message.take<fuse_rename_in>().newdir, 0); }

void FuseServer::rename_with_flags(FuseMessage& message) {
  const auto wanted = message.take<fuse_rename2_in>();
  if ((wanted.flags & ~uint32_t{RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT}) != 0) throw Refused{EINVAL};
  rename(message, wanted.newdir, wanted.flags);
}

void FuseServer::rename(FuseMessage& message, uint64_t new_directory, uint32_t flags) {
  const SharedTree::Node& from = writable_directory(message.header().nodeid);
  const SharedTree::Node& to = writable_directory(new_directory);
  const std::string name = message.take_name();
  const std::string new_name = message.take_name();
  must(::renameat2(from.fd.get(), name.c_str(), to.fd.get(), new_name.c_str(), flags));
}

}  // namespace vmm
