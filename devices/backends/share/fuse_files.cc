// The operations on open files and directories; see fuse_server.h.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "devices/backends/iovecs.h"
#include "devices/backends/share/fuse_server.h"

namespace vmm {

namespace {

// One answer's worth of directory entries; a guest that has room for more asks again.
constexpr size_t kMaxListing = 64 * 1024;
// In one request, so that the next one does not wait for long.
constexpr uint64_t kMaxCopy = 64 << 20;

// What getdents64(2) yields (man 2 getdents).
struct HostEntry {
  uint64_t inode;
  int64_t offset;  // of the next one
  uint16_t length;
  uint8_t type;
  const char* name;
};
constexpr size_t kEntryName = 19;  // where in an entry its name begins

HostEntry entry_at(std::span<const std::byte> listing, size_t at) {
  HostEntry entry{};
  std::memcpy(&entry.inode, &listing[at], sizeof entry.inode);
  std::memcpy(&entry.offset, &listing[at + 8], sizeof entry.offset);
  std::memcpy(&entry.length, &listing[at + 16], sizeof entry.length);
  std::memcpy(&entry.type, &listing[at + 18], sizeof entry.type);
  entry.name = reinterpret_cast<const char*>(&listing[at + kEntryName]);
  return entry;
}

// Entries from `offset` on, as an earlier one named it. No state is kept between two calls.
std::vector<std::byte> list(int directory, uint64_t offset, size_t size) {
  must(::lseek(directory, static_cast<off_t>(offset), SEEK_SET));
  std::vector<std::byte> listing(std::clamp<size_t>(size, 2 * kEntryName + NAME_MAX, kMaxListing));
  const auto length = must(::syscall(SYS_getdents64, directory, listing.data(), listing.size()));
  listing.resize(static_cast<size_t>(length));
  return listing;
}

void put_dirent(FuseMessage& message, const HostEntry& entry, uint64_t inode, size_t name_length) {
  constexpr std::byte kPadding[8]{};
  message.put(fuse_dirent{.ino = inode,
                          .off = static_cast<uint64_t>(entry.offset),
                          .namelen = static_cast<uint32_t>(name_length),
                          .type = entry.type});
  message.put_bytes(std::as_bytes(std::span(entry.name, name_length)));
  message.put_bytes(std::span(kPadding).first(FUSE_DIRENT_ALIGN(message.body_size()) - message.body_size()));
}

}  // namespace

// Neither direct I/O, whose alignment the guest cannot know, nor O_APPEND: a guest says with each write whether it
// appends.
int FuseServer::open_flags(uint32_t flags) const {
  const int wanted = static_cast<int>(flags) & (O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC);
  if ((wanted & O_ACCMODE) == O_ACCMODE) throw Refused{EINVAL};
  if (read_only_ && (wanted & (O_ACCMODE | O_TRUNC)) != O_RDONLY) throw Refused{EROFS};
  return wanted;
}

// The guest may keep what it has in its page cache when the file is as it was when it was opened before.
void FuseServer::put_open(FuseMessage& message, SharedTree::Node& node, UniqueFd file) {
  const struct stat now = SharedTree::status(file.get());
  const bool same = now.st_size == node.size && now.st_ctim.tv_sec == node.changed.tv_sec &&
                    now.st_ctim.tv_nsec == node.changed.tv_nsec;
  node.size = now.st_size;
  node.changed = now.st_ctim;
  message.put(fuse_open_out{.fh = tree_.keep(std::move(file)), .open_flags = same ? uint32_t{FOPEN_KEEP_CACHE} : 0});
}

void FuseServer::open_file(FuseMessage& message) {
  SharedTree::Node& node = tree_.file(message.header().nodeid);
  const int flags = open_flags(message.take<fuse_open_in>().flags);
  if (node.is_directory()) throw Refused{EISDIR};
  put_open(message, node, tree_.open(node, flags));
  if ((flags & O_TRUNC) != 0) drop_capability(SharedTree::path_of(node));
}

// O_EXCL, whatever the guest says: a name that exists may be anything, and is opened as such.
void FuseServer::create(FuseMessage& message) {
  const SharedTree::Node& parent = writable_directory(message.header().nodeid);
  const auto wanted = message.take<fuse_create_in>();
  const std::string name = message.take_name();
  const int flags = open_flags(wanted.flags);
  const mode_t mode = wanted.mode & (S_ISVTX | S_IRWXU | S_IRWXG | S_IRWXO);
  std::optional<Caller> maker;
  become_maker(message, maker);
  std::optional<Umask> mask(guest_knows_acls_ ? wanted.umask : 0);
  UniqueFd file(::openat(parent.fd.get(), name.c_str(), flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  const int error = errno;
  mask.reset();
  maker.reset();
  errno = error;
  const bool exists = !file && errno == EEXIST && (wanted.flags & O_EXCL) == 0;
  if (!exists) must(file.get());
  const uint64_t id = exists ? tree_.look_up(parent, name) : tree_.adopt(file.get());
  try {
    SharedTree::Node& node = tree_.node(id);
    if (exists) {
      if (node.is_directory()) throw Refused{EISDIR};
      file = tree_.open(node, flags);
    }
    message.put(entry_of(id));
    put_open(message, node, std::move(file));
  } catch (const Refused&) {
    tree_.forget(id, 1);
    throw;
  }
}

void FuseServer::open_directory(FuseMessage& message) {
  const SharedTree::Node& node = tree_.directory(message.header().nodeid);
  // One that is sealed is opened by its O_PATH descriptor, with which nothing can be listed.
  UniqueFd fd = node.sealed ? UniqueFd(must(::fcntl(node.fd.get(), F_DUPFD_CLOEXEC, 0)))
                            : tree_.open(node, O_RDONLY | O_DIRECTORY);
  message.put(fuse_open_out{.fh = tree_.keep(std::move(fd))});
}

void FuseServer::read(FuseMessage& message) {
  const auto wanted = message.take<fuse_read_in>();
  const int file = tree_.handle(wanted.fh);
  const size_t size = std::min<size_t>({wanted.size, message.room(), kMaxTransfer});
  size_t done = 0;
  // A short answer means the end of the file, so one is given there only.
  while (done < size) {
    const auto place = message.place(done, size - done);
    const ssize_t got =
        ::preadv(file, place.data(), static_cast<int>(place.size()), static_cast<off_t>(wanted.offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && done == 0) throw Refused{errno};
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  message.set_placed(done);
}

void FuseServer::write(FuseMessage& message) {
  const auto wanted = message.take<fuse_write_in>();
  const int file = tree_.handle(wanted.fh);
  if (wanted.size > message.data_size()) throw Refused{EINVAL};
  int flags = (wanted.flags & O_APPEND) != 0 ? RWF_APPEND : 0;
  if ((wanted.flags & O_DSYNC) != 0) flags |= RWF_DSYNC;
  const size_t size = std::min<size_t>(wanted.size, kMaxTransfer);
  size_t done = 0;
  while (done < size) {
    const auto data = message.data(done, size - done);
    const ssize_t got =
        ::pwritev2(file, data.data(), static_cast<int>(data.size()), static_cast<off_t>(wanted.offset + done), flags);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && done == 0) throw Refused{errno};
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  drop_capability(fmt::format("/proc/self/fd/{}", file));
  message.put(fuse_write_out{.size = static_cast<uint32_t>(done)});
}

void FuseServer::read_directory(FuseMessage& message) {
  const SharedTree::Node& node = tree_.directory(message.header().nodeid);
  const auto wanted = message.take<fuse_read_in>();
  if (node.sealed) return;
  const int directory = tree_.listing(wanted.fh);
  const size_t room = std::min<size_t>(wanted.size, message.room());
  const auto listing = list(directory, wanted.offset, room);
  for (size_t at = 0; at < listing.size();) {
    const HostEntry entry = entry_at(listing, at);
    at += entry.length;
    const size_t length = std::strlen(entry.name);
    if (message.body_size() + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length) > room) return;
    put_dirent(message, entry, tree_.inode_number(node.identity.first, entry.inode), length);
  }
}

// Each entry is looked up along with it, and counts as such; one that cannot be has the number 0.
void FuseServer::read_directory_plus(FuseMessage& message) {
  const SharedTree::Node& node = tree_.directory(message.header().nodeid);
  const auto wanted = message.take<fuse_read_in>();
  if (node.sealed) return;
  const int directory = tree_.listing(wanted.fh);
  const size_t room = std::min<size_t>(wanted.size, message.room());
  const auto listing = list(directory, wanted.offset, room / 4);  // an answer's entries are longer than the host's
  for (size_t at = 0; at < listing.size();) {
    const HostEntry entry = entry_at(listing, at);
    at += entry.length;
    const std::string name(entry.name);
    if (message.body_size() + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + name.size()) > room) return;
    fuse_entry_out found{};
    if (name != "." && name != "..") {
      try {
        found = entry_of(tree_.look_up(node, name));
      } catch (const Refused&) {
        found = {};
      }
    }
    message.put(found);
    put_dirent(message, entry, tree_.inode_number(node.identity.first, entry.inode), name.size());
  }
}

// What close(2) would report: some file systems find out only then that a write has failed.
void FuseServer::flush(FuseMessage& message) {
  must(::close(must(::fcntl(tree_.handle(message.take<fuse_flush_in>().fh), F_DUPFD_CLOEXEC, 0))));
}

void FuseServer::sync(FuseMessage& message) {
  const auto wanted = message.take<fuse_fsync_in>();
  const int file = tree_.handle(wanted.fh);
  must((wanted.fsync_flags & FUSE_FSYNC_FDATASYNC) != 0 ? ::fdatasync(file) : ::fsync(file));
}

void FuseServer::release(FuseMessage& message) { tree_.close(message.take<fuse_release_in>().fh); }

void FuseServer::seek(FuseMessage& message) {
  const auto wanted = message.take<fuse_lseek_in>();
  if (wanted.whence != SEEK_DATA && wanted.whence != SEEK_HOLE) throw Refused{EINVAL};
  const auto offset =
      must(::lseek(tree_.handle(wanted.fh), static_cast<off_t>(wanted.offset), static_cast<int>(wanted.whence)));
  message.put(fuse_lseek_out{.offset = static_cast<uint64_t>(offset)});
}

void FuseServer::allocate(FuseMessage& message) {
  const auto wanted = message.take<fuse_fallocate_in>();
  must(::fallocate(tree_.handle(wanted.fh), static_cast<int>(wanted.mode), static_cast<off_t>(wanted.offset),
                   static_cast<off_t>(wanted.length)));
  drop_capability(fmt::format("/proc/self/fd/{}", tree_.handle(wanted.fh)));
}

void FuseServer::copy_range_of_file(FuseMessage& message) {
  const auto wanted = message.take<fuse_copy_file_range_in>();
  auto from = static_cast<off_t>(wanted.off_in), to = static_cast<off_t>(wanted.off_out);
  const auto copied = must(::copy_file_range(tree_.handle(wanted.fh_in), &from, tree_.handle(wanted.fh_out), &to,
                                             std::min(wanted.len, kMaxCopy), static_cast<unsigned>(wanted.flags)));
  drop_capability(fmt::format("/proc/self/fd/{}", tree_.handle(wanted.fh_out)));
  message.put(fuse_write_out{.size = static_cast<uint32_t>(copied)});
}

}  // namespace vmm
