// Extended attributes in a shared directory: what the guest sees of them, and what the host does.
#include <fcntl.h>
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
  int set(uint64_t node, const std::string& name, const std::string& value) {
    return guest.tell(FUSE_SETXATTR, node, std::array{static_cast<uint32_t>(value.size()), uint32_t{0}}, Text(name),
                      Raw{value});
  }
  std::string get(uint64_t node, const std::string& name) {
    return guest.call(FUSE_GETXATTR, node, 4096, fuse_getxattr_in{.size = 4096, .padding = 0}, Text(name));
  }
  std::string list(uint64_t node) {
    return guest.call(FUSE_LISTXATTR, node, 4096, fuse_getxattr_in{.size = 4096, .padding = 0});
  }
  bool host_has(const std::string& file, const std::string& name) const {
    return ::getxattr(place(file).c_str(), name.c_str(), nullptr, 0) >= 0;
  }

  TempDirectory place;
  FuseServer server;
  FuseClient guest{server};
};

Ownership ordinary_user() { return {.as_is = false, .user = ::geteuid(), .group = ::getegid()}; }

}  // namespace

TEST_CASE("share: user.* attributes are the host's, others keep a name of ours", "[share][xattr]") {
  Fixture f(ordinary_user());
  f.place.file("file", "text");
  const uint64_t file = f.guest.look_up("file");
  if (f.set(file, "user.mine", "value") == EOPNOTSUPP) {
    WARN("skipped: this file system has no user.* attributes");
    return;
  }
  CHECK(f.host_has("file", "user.mine"));
  CHECK(f.set(file, "security.capability", "rights") == 0);
  CHECK(f.set(file, "trusted.overlay.opaque", "y") == 0);
  CHECK_FALSE(f.host_has("file", "security.capability"));
  CHECK_FALSE(f.host_has("file", "trusted.overlay.opaque"));
  CHECK(f.get(file, "security.capability") == "rights");
  CHECK(f.get(file, "trusted.overlay.opaque") == "y");
  CHECK(f.list(file).find("vmm") == std::string::npos);
  CHECK(f.list(file).find("trusted.overlay.opaque") != std::string::npos);
  CHECK(f.guest.tell(FUSE_REMOVEXATTR, file, Text("trusted.overlay.opaque")) == 0);
  CHECK(f.get(file, "trusted.overlay.opaque").empty());
  CHECK(f.guest.error == ENODATA);
}

TEST_CASE("share: no guest's attribute is another's by its name", "[share][xattr][escape]") {
  Fixture f(ordinary_user());
  f.place.file("file", "text");
  const uint64_t file = f.guest.look_up("file");
  f.set(file, "user.vmm.security.capability", "forged");
  CHECK(f.get(file, "security.capability").empty());
  CHECK(f.set(file, "system.posix_acl_access", "x") == EOPNOTSUPP);
}

TEST_CASE("share: a program's capabilities end when it is written", "[share][xattr]") {
  Fixture f(GENERATE(true, false) ? ordinary_user() : Ownership::of_process());
  f.place.file("file", "text");
  const uint64_t file = f.guest.look_up("file");
  if (f.set(file, "security.capability", "rights") != 0) {
    WARN("skipped: this file system has no such attributes");
    return;
  }
  CHECK_FALSE(f.host_has("file", "security.capability"));
  CHECK(f.get(file, "security.capability") == "rights");
  f.guest.write(file, f.guest.open(file, O_WRONLY), 0, "new");
  CHECK(f.get(file, "security.capability").empty());
}

TEST_CASE("share: an attribute's length is told, and too little room is refused", "[share][xattr]") {
  Fixture f(ordinary_user());
  f.place.file("file", "text");
  const uint64_t file = f.guest.look_up("file");
  if (f.set(file, "user.long", std::string(1000, 'v')) != 0) {
    WARN("skipped: this file system has no user.* attributes");
    return;
  }
  const auto length = f.guest.ask<fuse_getxattr_out>(FUSE_GETXATTR, file, fuse_getxattr_in{}, Text("user.long"));
  CHECK(length.size == 1000);
  f.guest.call(FUSE_GETXATTR, file, 4096, fuse_getxattr_in{.size = 999, .padding = 0}, Text("user.long"));
  CHECK(f.guest.error == ERANGE);
  CHECK(f.guest.tell(FUSE_SETXATTR, file, std::array{~0u, 0u}, Text("user.x"), Raw{"short"}) == EINVAL);
}
