// With whose rights a share makes system calls.
#include "devices/backends/share/caller.h"

#include <fcntl.h>
#include <linux/xattr.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>

#include "devices/backends/share/fuse_server.h"
#include "tests/support/fuse_client.h"
#include "tests/support/temp_file.h"

using namespace vmm;
using namespace vmm::test;

namespace {

struct Fixture {
  explicit Fixture(const Ownership& owner = Ownership::of_process())
      : server(SharedTree(place.path(), 64, owner), false) {
    guest.init();
  }
  mode_t mode_of(const std::string& name) const {
    struct stat status {};
    ::stat(place(name).c_str(), &status);
    return status.st_mode & 07777;
  }
  std::string get(uint64_t node, const std::string& name) {
    return guest.call(FUSE_GETXATTR, node, 4096, fuse_getxattr_in{.size = 4096, .padding = 0}, Text(name));
  }

  TempDirectory place;
  FuseServer server;
  FuseClient guest{server};
};

// u::rw-, u:UID:---, g::r--, m::rw-, o::r-- as the kernel stores it.
std::string acl_that_shuts_out(uint32_t uid) {
  struct Entry {
    uint16_t tag, permissions;
    uint32_t id;
  };
  const std::array<Entry, 5> entries{{{1, 6, ~0u}, {2, 0, uid}, {4, 4, ~0u}, {16, 6, ~0u}, {32, 4, ~0u}}};
  std::string text("\2\0\0\0", 4);
  text.append(reinterpret_cast<const char*>(entries.data()), sizeof entries);
  return text;
}

}  // namespace

TEST_CASE("share: a file that the guest writes or cuts is set-user-ID no more", "[share][escape]") {
  Fixture f;
  f.guest.uid = f.guest.gid = ::geteuid();
  f.place.file("written", "old");
  f.place.file("cut", "old");
  for (const char* name : {"written", "cut"}) REQUIRE(::chmod(f.place(name).c_str(), 06755) == 0);
  const uint64_t written = f.guest.look_up("written"), cut = f.guest.look_up("cut");
  CHECK(f.guest.write(written, f.guest.open(written, O_RDWR), 0, "new") == 3);
  CHECK(f.mode_of("written") == 0755);
  CHECK(f.guest.tell(FUSE_SETATTR, cut, fuse_setattr_in{.valid = FATTR_SIZE, .size = 1}) == 0);
  CHECK(f.mode_of("cut") == 0755);
}

TEST_CASE("share: what a user of the guest's makes is his from the beginning", "[share]") {
  if (::geteuid() != 0) {
    WARN("skipped: only root's share has files of several users");
    return;
  }
  Fixture f;
  f.guest.uid = 1234;
  f.guest.gid = 1235;
  const auto made = f.guest.ask<fuse_entry_out>(FUSE_MKDIR, FUSE_ROOT_ID, fuse_mkdir_in{.mode = 02755}, Text("made"));
  CHECK(f.guest.error == 0);
  CHECK(made.attr.uid == 1234);
  CHECK(made.attr.gid == 1235);
  CHECK(f.guest.tell(FUSE_SETATTR, made.nodeid, fuse_setattr_in{.valid = FATTR_MODE, .mode = 02775}) == 0);
  CHECK(f.mode_of("made") == 02775);
  CHECK(::geteuid() == 0);
}

TEST_CASE("share: an ACL holds for a guest whose kernel knows none", "[share]") {
  Fixture f;
  f.place.file("file", "text");
  const std::string acl = acl_that_shuts_out(1234);
  const bool stored = ::setxattr(f.place("file").c_str(), XATTR_NAME_POSIX_ACL_ACCESS, acl.data(), acl.size(), 0) == 0;
  if (!stored || ::geteuid() != 0) {
    WARN("skipped: only root acts for other users, on a file system with ACLs");
    return;
  }
  ::chmod(f.place.path().c_str(), 0755);
  const uint64_t file = f.guest.look_up("file");
  f.guest.uid = 1234;
  CHECK(f.guest.tell(FUSE_OPEN, file, fuse_open_in{.flags = O_RDONLY}) == EACCES);
  f.guest.uid = 1235;
  CHECK(f.guest.tell(FUSE_OPEN, file, fuse_open_in{.flags = O_RDONLY}) == 0);
  f.guest.uid = 0;
  CHECK(f.guest.tell(FUSE_OPEN, file, fuse_open_in{.flags = O_RDONLY}) == 0);
  CHECK(f.get(file, XATTR_NAME_POSIX_ACL_ACCESS) == acl);
}

TEST_CASE("share: an overlay's whiteouts can be made, and no other device", "[share]") {
  Fixture f;
  f.guest.uid = ::geteuid();
  f.guest.gid = ::getegid();
  const auto make = [&](uint32_t device, const char* name) {
    return f.guest.tell(FUSE_MKNOD, FUSE_ROOT_ID, fuse_mknod_in{.mode = S_IFCHR | 0600, .rdev = device}, Text(name));
  };
  CHECK(make(0, "whiteout") == 0);
  CHECK(make(0x103, "null") == EPERM);
  struct stat status {};
  REQUIRE(::stat(f.place("whiteout").c_str(), &status) == 0);
  CHECK(S_ISCHR(status.st_mode));
  CHECK(status.st_rdev == 0);
}
