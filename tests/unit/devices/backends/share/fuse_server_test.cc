// The FUSE server: names and attributes, and ways out of the shared tree that must not be.
#include "devices/backends/share/fuse_server.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "tests/support/fuse_client.h"
#include "tests/support/temp_file.h"

using namespace vmm;
using namespace vmm::test;
namespace fs = std::filesystem;

namespace {

constexpr size_t kFiles = 64;

struct Fixture {
  explicit Fixture(bool read_only = false, const Ownership& owner = Ownership::of_process())
      : server(SharedTree(place("shared"), kFiles, owner), read_only) {
    guest.uid = ::geteuid();
    guest.gid = ::getegid();
    guest.init();
  }
  std::string shared(const std::string& name) const { return place("shared/" + name); }
  static void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
  static std::string content(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  struct Place : TempDirectory {
    Place() {
      fs::create_directory((*this)("shared"));
      write((*this)("secret"), "secret");
    }
  } place;
  FuseServer server;
  FuseClient guest{server};
};

}  // namespace

TEST_CASE("share: a mount agrees on version 7 and on what both know", "[share]") {
  Fixture f;
  const auto agreed = f.guest.ask<fuse_init_out>(
      FUSE_INIT, 0, fuse_init_in{.major = 7, .minor = 38, .max_readahead = 1 << 17, .flags = ~0u});
  CHECK(agreed.major == 7);
  CHECK(agreed.max_write == FuseServer::kMaxTransfer);
  CHECK((agreed.flags & FUSE_WRITEBACK_CACHE) == 0);
  CHECK(f.guest.tell(FUSE_INIT, 0, fuse_init_in{.major = 6, .minor = 38}) == EPROTO);
  CHECK(f.guest.tell(FUSE_INIT, 0, fuse_init_in{.major = 7, .minor = 12}) == EPROTO);
}

TEST_CASE("share: nothing is done before a mount and after its end", "[share]") {
  Fixture f;
  Fixture::write(f.shared("file"), "x");
  CHECK(f.guest.look_up("file") != 0);
  CHECK(f.guest.tell(FUSE_DESTROY, 0) == 0);
  CHECK(f.guest.tell(FUSE_LOOKUP, FUSE_ROOT_ID, Text("file")) == EIO);
}

TEST_CASE("share: a file is found with its attributes", "[share]") {
  Fixture f;
  Fixture::write(f.shared("file"), "twelve bytes");
  ::chmod(f.shared("file").c_str(), 0640);
  const auto found = f.guest.ask<fuse_entry_out>(FUSE_LOOKUP, FUSE_ROOT_ID, Text("file"));
  CHECK(f.guest.error == 0);
  CHECK(f.guest.truthful);
  CHECK(found.attr.size == 12);
  CHECK(found.attr.mode == (S_IFREG | 0640));
  CHECK(f.guest.look_up("file") == found.nodeid);
  CHECK(f.guest.tell(FUSE_LOOKUP, FUSE_ROOT_ID, Text("none")) == ENOENT);
}

TEST_CASE("share: no name leads out of a directory", "[share][escape]") {
  Fixture f;
  const std::string name = GENERATE("..", ".", "", "/", "../secret", "/etc/passwd", "a/b", "../shared");
  CAPTURE(name);
  CHECK(f.guest.tell(FUSE_LOOKUP, FUSE_ROOT_ID, Text(name)) == EINVAL);
  CHECK(f.guest.tell(FUSE_MKDIR, FUSE_ROOT_ID, fuse_mkdir_in{.mode = 0700}, Text(name)) == EINVAL);
  CHECK(f.guest.tell(FUSE_CREATE, FUSE_ROOT_ID, fuse_create_in{.flags = O_RDWR, .mode = 0600}, Text(name)) == EINVAL);
  CHECK(f.guest.tell(FUSE_UNLINK, FUSE_ROOT_ID, Text(name)) == EINVAL);
  CHECK(f.guest.tell(FUSE_RENAME, FUSE_ROOT_ID, fuse_rename_in{.newdir = FUSE_ROOT_ID}, Text("a"), Text(name)) ==
        EINVAL);
  CHECK(f.guest.tell(FUSE_SYMLINK, FUSE_ROOT_ID, Text(name), Text("target")) == EINVAL);
}

TEST_CASE("share: a symlink is text, and is never followed on the host", "[share][escape]") {
  Fixture f;
  fs::create_symlink("../secret", f.shared("out"));
  fs::create_symlink("..", f.shared("up"));
  const uint64_t out = f.guest.look_up("out");
  CHECK(f.guest.call(FUSE_READLINK, out, 4096) == "../secret");
  CHECK(f.guest.tell(FUSE_OPEN, out, fuse_open_in{.flags = O_RDONLY}) == ELOOP);
  CHECK(f.guest.tell(FUSE_SETATTR, out, fuse_setattr_in{.valid = FATTR_SIZE}) == EINVAL);
  CHECK(f.guest.tell(FUSE_CREATE, FUSE_ROOT_ID, fuse_create_in{.flags = O_WRONLY | O_TRUNC, .mode = 0600},
                     Text("out")) == ELOOP);
  CHECK(f.guest.tell(FUSE_LOOKUP, f.guest.look_up("up"), Text("secret")) == ENOTDIR);
  f.guest.tell(FUSE_SETATTR, out, fuse_setattr_in{.valid = FATTR_MODE, .mode = 0777});
  struct stat secret {};
  ::stat(f.place("secret").c_str(), &secret);
  CHECK((secret.st_mode & 0111) == 0);
  CHECK(Fixture::content(f.place("secret")) == "secret");
}

TEST_CASE("share: a directory that is moved out is no way out", "[share][escape]") {
  Fixture f;
  fs::create_directory(f.shared("inner"));
  Fixture::write(f.shared("inner/file"), "inside");
  const uint64_t inner = f.guest.look_up("inner");
  const uint64_t file = f.guest.look_up("file", inner);
  const uint64_t handle = f.guest.open(file, O_RDONLY);
  const auto listing = f.guest.ask<fuse_open_out>(FUSE_OPENDIR, inner, fuse_open_in{}).fh;
  fs::rename(f.shared("inner"), f.place("outside"));
  const uint64_t named = GENERATE_COPY(inner, uint64_t{FUSE_ROOT_ID});
  const auto kind = static_cast<uint32_t>(GENERATE(FUSE_READDIR, FUSE_READDIRPLUS));
  f.guest.call(kind, named, 4096, fuse_read_in{.fh = listing, .size = 4096});
  CHECK(f.guest.error == ESTALE);
  CHECK(f.guest.tell(FUSE_LOOKUP, inner, Text("file")) == ESTALE);
  CHECK(f.guest.tell(FUSE_MKDIR, inner, fuse_mkdir_in{.mode = 0700}, Text("new")) == ESTALE);
  CHECK(f.guest.tell(FUSE_OPENDIR, inner, fuse_open_in{}) == ESTALE);
  CHECK(f.guest.tell(FUSE_OPEN, file, fuse_open_in{.flags = O_RDONLY}) == ESTALE);
  CHECK(f.guest.tell(FUSE_SETATTR, file, fuse_setattr_in{.valid = FATTR_SIZE}) == ESTALE);
  CHECK(f.guest.read(file, handle, 0, 100) == "inside");  // what is open stays open, as everywhere
  CHECK(Fixture::content(f.place("outside/file")) == "inside");
}

TEST_CASE("share: a directory beside it whose name begins alike is outside", "[share][escape]") {
  Fixture f;
  fs::create_directory(f.shared("inner"));
  const uint64_t inner = f.guest.look_up("inner");
  fs::rename(f.shared("inner"), f.place("shared-not"));
  CHECK(f.guest.tell(FUSE_OPENDIR, inner, fuse_open_in{}) == ESTALE);
}

TEST_CASE("share: the whole tree may be moved while it is shared", "[share]") {
  Fixture f;
  Fixture::write(f.shared("file"), "x");
  fs::rename(f.place("shared"), f.place("moved"));
  CHECK(f.guest.look_up("file") != 0);
}

TEST_CASE("share: devices, FIFOs and sockets of the host are never opened", "[share][escape]") {
  Fixture f;
  ::mkfifo(f.shared("fifo").c_str(), 0600);
  const uint64_t fifo = f.guest.look_up("fifo");
  CHECK(f.guest.tell(FUSE_OPEN, fifo, fuse_open_in{.flags = O_RDONLY}) == ENXIO);
  CHECK(f.guest.tell(FUSE_CREATE, FUSE_ROOT_ID, fuse_create_in{.flags = O_RDWR, .mode = 0600}, Text("fifo")) == ENXIO);
  const auto kind = static_cast<uint32_t>(GENERATE(S_IFCHR, S_IFBLK, S_IFDIR, S_IFLNK, 0));
  CHECK(f.guest.tell(FUSE_MKNOD, FUSE_ROOT_ID, fuse_mknod_in{.mode = kind | 0600, .rdev = 0x103}, Text("made")) ==
        EPERM);
}

TEST_CASE("share: no file becomes set-user-ID", "[share][escape]") {
  Fixture f;
  f.guest.tell(FUSE_CREATE, FUSE_ROOT_ID, fuse_create_in{.flags = O_RDWR, .mode = 06755}, Text("made"));
  const uint64_t made = f.guest.look_up("made");
  const auto after =
      f.guest.ask<fuse_attr_out>(FUSE_SETATTR, made, fuse_setattr_in{.valid = FATTR_MODE, .mode = 06711});
  CHECK(f.guest.error == 0);
  CHECK(after.attr.mode == (S_IFREG | 0711));
}

TEST_CASE("share: the host kernel's own file systems are shown empty", "[share][escape]") {
  FuseServer server(SharedTree("/", kFiles, Ownership::of_process()), true);
  FuseClient guest(server);
  guest.init();
  const uint64_t proc = guest.look_up("proc");
  REQUIRE(proc != 0);
  CHECK(guest.tell(FUSE_LOOKUP, proc, Text("self")) == ENOENT);
  const auto handle = guest.ask<fuse_open_out>(FUSE_OPENDIR, proc, fuse_open_in{}).fh;
  CHECK(guest.call(FUSE_READDIR, proc, 4096, fuse_read_in{.fh = handle, .size = 4096}).empty());
  CHECK(guest.error == 0);
  CHECK(guest.tell(FUSE_SETATTR, proc, fuse_setattr_in{.valid = FATTR_MODE, .mode = 0}) == EROFS);
}

TEST_CASE("share: directories, links and names are made, moved and removed", "[share]") {
  Fixture f;
  const uint64_t folder =
      f.guest.ask<fuse_entry_out>(FUSE_MKDIR, FUSE_ROOT_ID, fuse_mkdir_in{.mode = 0755}, Text("folder")).nodeid;
  Fixture::write(f.shared("file"), "x");
  const uint64_t file = f.guest.look_up("file");
  CHECK(f.guest.ask<fuse_entry_out>(FUSE_LINK, folder, fuse_link_in{.oldnodeid = file}, Text("link")).nodeid == file);
  CHECK(f.guest.tell(FUSE_SYMLINK, folder, Text("soft"), Text("/anywhere at all")) == 0);
  CHECK(fs::read_symlink(f.shared("folder/soft")) == "/anywhere at all");
  CHECK(f.guest.tell(FUSE_RENAME, FUSE_ROOT_ID, fuse_rename_in{.newdir = folder}, Text("file"), Text("moved")) == 0);
  CHECK(fs::exists(f.shared("folder/moved")));
  CHECK(f.guest.tell(FUSE_RENAME2, folder, fuse_rename2_in{.newdir = folder, .flags = RENAME_NOREPLACE}, Text("moved"),
                     Text("link")) == EEXIST);
  CHECK(f.guest.tell(FUSE_RENAME2, folder, fuse_rename2_in{.newdir = folder, .flags = 8}, Text("moved"),
                     Text("gone")) == EINVAL);
  CHECK(f.guest.tell(FUSE_RMDIR, FUSE_ROOT_ID, Text("folder")) == ENOTEMPTY);
  for (const char* name : {"moved", "link", "soft"}) CHECK(f.guest.tell(FUSE_UNLINK, folder, Text(name)) == 0);
  CHECK(f.guest.tell(FUSE_RMDIR, FUSE_ROOT_ID, Text("folder")) == 0);
  CHECK(fs::is_empty(f.place("shared")));
}

TEST_CASE("share: a read-only one refuses whatever changes it", "[share]") {
  Fixture f(true);
  Fixture::write(f.shared("file"), "x");
  const uint64_t file = f.guest.look_up("file");
  const auto root = uint64_t{FUSE_ROOT_ID};
  CHECK(f.guest.tell(FUSE_CREATE, root, fuse_create_in{.flags = O_RDWR, .mode = 0600}, Text("new")) == EROFS);
  CHECK(f.guest.tell(FUSE_MKDIR, root, fuse_mkdir_in{.mode = 0700}, Text("new")) == EROFS);
  CHECK(f.guest.tell(FUSE_UNLINK, root, Text("file")) == EROFS);
  CHECK(f.guest.tell(FUSE_RENAME, root, fuse_rename_in{.newdir = root}, Text("file"), Text("new")) == EROFS);
  CHECK(f.guest.tell(FUSE_SETATTR, file, fuse_setattr_in{.valid = FATTR_SIZE}) == EROFS);
  const int flags = GENERATE(O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC);
  CHECK(f.guest.tell(FUSE_OPEN, file, fuse_open_in{.flags = static_cast<uint32_t>(flags)}) == EROFS);
  const uint64_t handle = f.guest.open(file, O_RDONLY);
  f.guest.write(file, handle, 0, "changed");
  CHECK(f.guest.error == EROFS);
  CHECK(Fixture::content(f.shared("file")) == "x");
}

TEST_CASE("share: an ordinary user's files are the guest's root's, and stay it", "[share]") {
  Fixture f(false, {.as_is = false, .user = ::geteuid(), .group = ::getegid()});
  f.guest.uid = 1234;
  f.guest.gid = 1234;
  const auto made = f.guest.ask<fuse_entry_out>(FUSE_MKDIR, FUSE_ROOT_ID, fuse_mkdir_in{.mode = 0700}, Text("made"));
  CHECK(f.guest.error == 0);
  CHECK(made.attr.uid == 0);
  CHECK(made.attr.gid == 0);
  CHECK(f.guest.tell(FUSE_SETATTR, made.nodeid, fuse_setattr_in{.valid = FATTR_UID | FATTR_GID}) == 0);
  CHECK(f.guest.tell(FUSE_SETATTR, made.nodeid, fuse_setattr_in{.valid = FATTR_UID, .uid = 1234}) == EPERM);
  CHECK(f.guest.tell(FUSE_SETATTR, made.nodeid, fuse_setattr_in{.valid = FATTR_GID, .gid = 1234}) == EPERM);
  struct stat file {};
  ::stat(f.shared("made").c_str(), &file);
  CHECK(file.st_uid == ::geteuid());
}

TEST_CASE("share: times, and sizes of files that are not open, are set", "[share]") {
  Fixture f;
  Fixture::write(f.shared("file"), "content");
  const auto after = f.guest.ask<fuse_attr_out>(
      FUSE_SETATTR, f.guest.look_up("file"),
      fuse_setattr_in{.valid = FATTR_SIZE | FATTR_MTIME, .size = 3, .mtime = 1000, .mtimensec = 5});
  CHECK(after.attr.size == 3);
  CHECK(after.attr.mtime == 1000);
  CHECK(after.attr.mtimensec == 5);
  CHECK(f.guest.tell(FUSE_SETATTR, f.guest.look_up("file"),
                     fuse_setattr_in{.valid = FATTR_MTIME, .mtimensec = UTIME_OMIT}) == EINVAL);
}

TEST_CASE("share: what the guest forgets is forgotten, and its number never used again", "[share]") {
  Fixture f;
  Fixture::write(f.shared("file"), "x");
  const uint64_t file = f.guest.look_up("file");
  f.guest.look_up("file");
  f.guest.tell(FUSE_FORGET, file, fuse_forget_in{.nlookup = 1});
  CHECK(f.guest.written == 0);
  CHECK(f.guest.tell(FUSE_GETATTR, file, fuse_getattr_in{}) == 0);
  f.guest.tell(FUSE_BATCH_FORGET, 0, fuse_batch_forget_in{.count = 2}, fuse_forget_one{.nodeid = file, .nlookup = 99},
               fuse_forget_one{.nodeid = FUSE_ROOT_ID, .nlookup = 99});
  CHECK(f.guest.tell(FUSE_GETATTR, file, fuse_getattr_in{}) == ESTALE);
  CHECK(f.guest.tell(FUSE_GETATTR, FUSE_ROOT_ID, fuse_getattr_in{}) == 0);
  CHECK(f.guest.look_up("file") != file);
}

TEST_CASE("share: files and handles are bounded", "[share]") {
  Fixture f;
  for (size_t i = 0; i <= kFiles; ++i) Fixture::write(f.shared(std::to_string(i)), "x");
  for (size_t i = 1; i < kFiles; ++i) REQUIRE(f.guest.look_up(std::to_string(i)) != 0);
  CHECK(f.guest.tell(FUSE_LOOKUP, FUSE_ROOT_ID, Text("0")) == ENFILE);
  const uint64_t file = f.guest.look_up("1");
  for (size_t i = 0; i < kFiles / 4; ++i) REQUIRE(f.guest.open(file, O_RDONLY) != 0);
  CHECK(f.guest.tell(FUSE_OPEN, file, fuse_open_in{}) == ENFILE);
  f.server.reset();
  CHECK(f.server.tree().known() == 1);
}

TEST_CASE("share: requests that are none get no answer, and wrong ones an error", "[share]") {
  Fixture f;
  for (size_t length = 0; length < sizeof(fuse_in_header); ++length) {
    f.guest.send(std::string(length, 'x'), 100);
    CHECK(f.guest.written == 0);
  }
  fuse_in_header header{.len = 1000, .opcode = FUSE_GETATTR, .nodeid = FUSE_ROOT_ID};
  f.guest.send(std::string(reinterpret_cast<const char*>(&header), sizeof header), 100);
  CHECK(f.guest.written == 0);  // a length that is not so
  CHECK(f.guest.tell(9999, FUSE_ROOT_ID) == ENOSYS);
  CHECK(f.guest.tell(FUSE_LOOKUP, FUSE_ROOT_ID, Raw{"no end"}) == EINVAL);
  CHECK(f.guest.tell(FUSE_LOOKUP, FUSE_ROOT_ID) == EINVAL);
  CHECK(f.guest.tell(FUSE_LOOKUP, FUSE_ROOT_ID, Text(std::string(256, 'n'))) == ENAMETOOLONG);
  CHECK(f.guest.tell(FUSE_LOOKUP, FUSE_ROOT_ID, Text(std::string(100000, 'n'))) == ENAMETOOLONG);
  CHECK(f.guest.tell(FUSE_LOOKUP, 4711, Text("file")) == ESTALE);
  CHECK(f.guest.tell(FUSE_BATCH_FORGET, 0, fuse_batch_forget_in{.count = ~0u}) == 0);
}

TEST_CASE("share: nothing is done whose answer has no room", "[share]") {
  Fixture f;
  f.guest.call(FUSE_MKDIR, FUSE_ROOT_ID, 8, fuse_mkdir_in{.mode = 0700}, Text("made"));
  CHECK(f.guest.error == EINVAL);
  CHECK_FALSE(fs::exists(f.shared("made")));
}
